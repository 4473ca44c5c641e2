-- Who spent it: each account and user label, with what failed and when they were seen.
SELECT
    account,
    user_label AS user,
    count(DISTINCT request_id) AS requests,
    count(DISTINCT request_id) FILTER (status >= 400 AND end_reason IS DISTINCT FROM 'retried') AS failed,
    count(DISTINCT coalesce(model, model_requested)) AS models,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    if(NOT bool_or(billed), 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(cost_at_least_usd) FILTER (billed AND cost_usd IS NULL) AS at_least_usd,
    sum(computed_cost_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (cost_source = 'unknown' AND billed) AS unknown,
    date_trunc('second', min(started_at)) AS first_seen,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(account) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((account, user_label), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
