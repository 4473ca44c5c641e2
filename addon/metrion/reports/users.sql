-- Who spent it: each account and user label, with what failed and when they were seen.
WITH used AS (
    SELECT account, user_label, count(DISTINCT model) AS models, grouping(account) = 1 AS is_total
    FROM sums_by(account, user_label, model) GROUP BY GROUPING SETS ((account, user_label), ())
), spent AS (
    SELECT
        account,
        user_label,
        requests_of(requests, shared) AS requests,
        requests_of(if(is_failed, requests, 0), if(is_failed, shared, NULL)) AS failed,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
        sum(floor_usd) FILTER (billed) AS at_least_usd,
        sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
        coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)::BIGINT AS unpriced,
        coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)::BIGINT AS unknown,
        date_trunc('second', min(first_at)) AS first_seen,
        date_trunc('second', max(last_at)) AS last_seen,
        grouping(account) = 1 AS is_total
    FROM (
        SELECT *, status >= 400 AND end_reason IS DISTINCT FROM 'retried' AS is_failed
        FROM sums_by(account, user_label, status, end_reason, cost_source, billed)
    )
    GROUP BY GROUPING SETS ((account, user_label), ())
)
SELECT
    spent.account,
    spent.user_label AS user,
    requests,
    failed,
    models,
    input_tokens,
    output_tokens,
    cost_usd,
    at_least_usd,
    subscription_usd,
    unpriced,
    unknown,
    first_seen,
    last_seen,
    spent.is_total
FROM spent JOIN used ON used.is_total = spent.is_total
    AND used.account IS NOT DISTINCT FROM spent.account AND used.user_label IS NOT DISTINCT FROM spent.user_label
ORDER BY spent.is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
