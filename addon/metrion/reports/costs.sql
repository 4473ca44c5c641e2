-- What was spent: requests, tokens and dollars, by whatever --by says.
-- NULL is not known: a cost that nobody knows is in no sum, it is counted beside it.
WITH asked AS (
    SELECT
        *,
        CASE $by
            WHEN 'day' THEN strftime(started_at, '%Y-%m-%d')
            WHEN 'user' THEN user_label
            WHEN 'model' THEN coalesce(model, model_requested)
            WHEN 'provider' THEN provider
            WHEN 'token' THEN token_name
            WHEN 'account' THEN account
            WHEN 'tag' THEN tags[$tag]
        END AS key
    FROM billing
    WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
        AND started_at < coalesce($until::TIMESTAMP, 'infinity')
)
SELECT
    key,
    count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    sum(cost_usd) FILTER (cost_source = 'estimated') AS estimated_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (coalesce(cost_source, 'unknown') = 'unknown' AND NOT settled_later) AS unknown,
    grouping(key) = 1 AS is_total
FROM asked
GROUP BY GROUPING SETS ((key), ())
ORDER BY is_total, CASE WHEN $by = 'day' THEN key END, cost_usd DESC NULLS LAST, requests DESC, key
