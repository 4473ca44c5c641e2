-- What was spent: requests, tokens and dollars, by whatever --by says.
-- NULL is not known: a cost that nobody knows is in no sum, it is counted beside it.
WITH asked AS (
    SELECT
        *,
        list_transform($by::VARCHAR[], lambda kind: CASE kind
            WHEN 'month' THEN strftime(local_day, '%Y-%m')
            WHEN 'day' THEN strftime(local_day, '%Y-%m-%d')
            WHEN 'user' THEN user_label
            WHEN 'model' THEN model
            WHEN 'provider' THEN provider
            WHEN 'token' THEN token_name
            WHEN 'account' THEN account
            ELSE NULL  -- tag:NAME
        END) AS keys
    FROM sums_by($by, cost_source, billed)
)
SELECT
    keys,
    requests_of(requests, shared) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(cost_usd) FILTER (cost_source = 'estimated') AS estimated_usd,
    sum(floor_usd) FILTER (billed) AS at_least_usd,
    sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)::BIGINT AS unpriced,
    coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)::BIGINT AS unknown,
    grouping(keys) = 1 AS is_total
FROM asked
GROUP BY GROUPING SETS ((keys), ())
ORDER BY
    is_total,
    keys[:-2],  -- all but the last, whose groups are in the order of time or of cost
    CASE WHEN $by[-1] IN ('month', 'day') THEN keys[-1] END,
    cost_usd DESC NULLS LAST,
    requests DESC,
    keys
