-- What each model was used for and cost: every token class, and what a million tokens came to.
WITH asked AS (
    SELECT
        *,
        coalesce(model, model_requested) AS name,
        input_tokens + coalesce(output_tokens, 0) AS tokens,
        -- Parts of other models (MODEL:part) are in the cost, and their tokens in no column.
        cost_usd - CASE
            WHEN model IS NULL THEN 0
            ELSE coalesce(list_sum([part.value FOR part IN map_entries(cost_parts) IF contains(part.key, ':')]), 0)
        END AS own_usd
    FROM billing
    WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
        AND started_at < coalesce($until::TIMESTAMP, 'infinity')
        AND (coalesce(model, model_requested) IS NOT NULL OR cost_source <> 'not_billed')
)
SELECT
    provider,
    name AS model,
    count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    if(NOT bool_or(billed), 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    round(
        sum(own_usd) FILTER (billed AND tokens > 0)::DOUBLE * 1e6
        / nullif(sum(tokens) FILTER (billed AND own_usd IS NOT NULL), 0), 4
    ) AS usd_per_million,
    sum(cost_at_least_usd) FILTER (billed AND cost_usd IS NULL) AS at_least_usd,
    sum(computed_cost_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (cost_source = 'unknown' AND billed) AS unknown,
    grouping(provider) = 1 AS is_total
FROM asked
GROUP BY GROUPING SETS ((provider, name), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
