-- What each model was used for and cost: every token class, and what a million tokens came to.
SELECT
    provider,
    model,
    requests_of(requests, shared) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    round(
        sum(own_usd) FILTER (billed)::DOUBLE * 1e6 / nullif(sum(own_tokens) FILTER (billed), 0), 4
    ) AS usd_per_million,
    sum(floor_usd) FILTER (billed) AS at_least_usd,
    sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)::BIGINT AS unpriced,
    coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)::BIGINT AS unknown,
    grouping(provider) = 1 AS is_total
FROM sums_by(provider, model, cost_source, billed)
WHERE model IS NOT NULL OR cost_source <> 'not_billed'
GROUP BY GROUPING SETS ((provider, model), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1, 2
