-- What was spent: requests, tokens and dollars, by whatever --by says.
-- NULL is not known: a cost that nobody knows is in no sum, it is counted beside it.
WITH asked AS (
    SELECT
        *,
        list_transform($by::VARCHAR[], lambda kind: CASE kind
            WHEN 'month' THEN strftime(local_time, '%Y-%m')
            WHEN 'day' THEN strftime(local_time, '%Y-%m-%d')
            WHEN 'user' THEN user_label
            WHEN 'model' THEN coalesce(model, model_requested)
            WHEN 'provider' THEN provider
            WHEN 'token' THEN token_name
            WHEN 'account' THEN account
            ELSE tags[kind[5:]]  -- tag:NAME
        END) AS keys
    FROM (SELECT *, timezone($timezone, timezone('UTC', started_at)) AS local_time FROM billing)
    WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
        AND started_at < coalesce($until::TIMESTAMP, 'infinity')
)
SELECT
    keys,
    count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    if(NOT bool_or(billed), 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(cost_usd) FILTER (cost_source = 'estimated') AS estimated_usd,
    sum(cost_at_least_usd) FILTER (billed AND cost_usd IS NULL) AS at_least_usd,
    sum(computed_cost_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (cost_source = 'unknown' AND billed) AS unknown,
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
