-- What each model was used for and cost: every token class, and what a million tokens came to.
SELECT
    provider,
    coalesce(model, model_requested) AS model,
    count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    sum(cost_usd) AS cost_usd,
    round(
        sum(cost_usd) FILTER (input_tokens + coalesce(output_tokens, 0) > 0)::DOUBLE * 1e6
        / nullif(sum(input_tokens + coalesce(output_tokens, 0)) FILTER (cost_usd IS NOT NULL), 0), 4
    ) AS usd_per_million,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (coalesce(cost_source, 'unknown') = 'unknown') AS unknown,
    grouping(provider) = 1 AS is_total
FROM events
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
    AND coalesce(model, model_requested) IS NOT NULL
GROUP BY GROUPING SETS ((provider, coalesce(model, model_requested)), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
