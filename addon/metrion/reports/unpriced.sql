-- What is in no sum: models without a price (unpriced), and billed requests of unknown usage (unknown), apart.
WITH told_later AS (  -- what was not done when its request was answered, and is billed in the row that read it back
    SELECT provider, unnest([generation_id, split_part(path, '/', -1)]) AS id FROM events
    WHERE (method <> 'POST' OR operation = 'runs') AND cost_source NOT IN ('not_billed', 'unknown')
)
SELECT
    cost_source AS why,
    provider,
    coalesce(model, model_requested) AS model,
    service_tier,
    count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    date_trunc('second', min(started_at)) AS first_seen,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(provider) = 1 AS is_total
FROM (SELECT * REPLACE (coalesce(cost_source, 'unknown') AS cost_source) FROM events)
WHERE (
        cost_source = 'unpriced'
        OR (cost_source = 'unknown' AND generation_id IS NULL)
        OR (cost_source = 'unknown' AND (provider, generation_id) NOT IN (FROM told_later WHERE id IS NOT NULL))
    )
    AND started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((cost_source, provider, coalesce(model, model_requested), service_tier), ())
ORDER BY is_total, why DESC, requests DESC, 1, 2, 3, 4
