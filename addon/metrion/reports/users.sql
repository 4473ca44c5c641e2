-- Who spent it: each account and user label, with what failed and when they were seen.
SELECT
    account,
    user_label AS user,
    count(DISTINCT request_id) AS requests,
    count(*) FILTER (status >= 400) AS failed,
    count(DISTINCT coalesce(model, model_requested)) AS models,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (coalesce(cost_source, 'unknown') = 'unknown' AND NOT settled_later) AS unknown,
    date_trunc('second', min(started_at)) AS first_seen,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(account) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((account, user_label), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
