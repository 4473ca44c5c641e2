-- What each token was used for: requests, refusals, dollars, and when it was last seen. NULL is nobody's valid token.
SELECT
    account,
    token_name AS token,
    count(DISTINCT request_id) AS requests,
    count(*) FILTER (end_reason = 'refused') AS refused,
    count(DISTINCT user_label) AS users,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (coalesce(cost_source, 'unknown') = 'unknown' AND NOT settled_later) AS unknown,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(account) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((account, token_name), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
