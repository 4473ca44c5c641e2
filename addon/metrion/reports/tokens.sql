-- What each token was used for: requests, refusals, dollars, and when it was last seen. NULL is nobody's valid token.
SELECT
    account,
    token_name AS token,
    count(DISTINCT request_id) AS requests,
    count(DISTINCT request_id) FILTER (end_reason = 'refused') AS refused,
    count(DISTINCT user_label) AS users,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    if(NOT bool_or(billed), 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(cost_at_least_usd) FILTER (billed AND cost_usd IS NULL) AS at_least_usd,
    sum(computed_cost_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (cost_source = 'unknown' AND billed) AS unknown,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(account) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((account, token_name), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
