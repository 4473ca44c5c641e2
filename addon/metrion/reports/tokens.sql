-- What each token was used for: requests, refusals, dollars, and when it was last seen. NULL is nobody's valid token.
SELECT
    account,
    token_name AS token,
    requests_of(requests, shared) AS requests,
    requests_of(if(end_reason = 'refused', requests, 0), if(end_reason = 'refused', shared, NULL)) AS refused,
    count(DISTINCT user_label) AS users,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(floor_usd) FILTER (billed) AS at_least_usd,
    sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)::BIGINT AS unpriced,
    coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)::BIGINT AS unknown,
    date_trunc('second', max(last_at)) AS last_seen,
    grouping(account) = 1 AS is_total
FROM sums_by(account, token_name, user_label, end_reason, cost_source, billed)
GROUP BY GROUPING SETS ((account, token_name), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
