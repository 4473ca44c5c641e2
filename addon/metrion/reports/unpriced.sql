-- What is in no sum: models without a price (unpriced), and billed requests of unknown usage (unknown), apart.
SELECT
    cost_source AS why,
    provider,
    coalesce(model, model_requested) AS model,
    service_tier,
    -- A tool without a fee leaves a row without a cost, whatever else has a price.
    nullif(
        array_to_string(
            list_sort(
                list_distinct(
                    flatten(
                        list(
                            map_keys(coalesce(server_tools, MAP {}::MAP(VARCHAR, BIGINT)))
                            || map_keys(coalesce(unreported_tools, MAP {}::MAP(VARCHAR, BIGINT)))
                        ) FILTER (cost_source = 'unpriced')
                    )
                )
            ),
            ', '
        ),
        ''
    ) AS tools,
    count(*) FILTER (request_id IS NULL) + count(DISTINCT request_id) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    sum(cost_at_least_usd) AS at_least_usd,
    date_trunc('second', min(started_at)) AS first_seen,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(provider) = 1 AS is_total
FROM rows_asked()
WHERE cost_source IN ('unpriced', 'unknown') AND billed
GROUP BY GROUPING SETS ((cost_source, provider, coalesce(model, model_requested), service_tier), ())
ORDER BY is_total, why DESC, requests DESC, 1, 2, 3, 4
