-- What went to each provider: requests, failures, refusals of Metrion's own, tokens, the share read from caches, dollars.
SELECT
    provider,
    count(DISTINCT request_id) AS requests,
    count(DISTINCT request_id) FILTER (
        status >= 400 AND coalesce(end_reason, '') NOT IN ('refused', 'retried')
    ) AS failed,
    count(DISTINCT request_id) FILTER (end_reason = 'refused') AS refused,
    sum(input_tokens) AS input_tokens,
    round(
        100.0 * sum(cache_read_tokens)
        / nullif(sum(input_tokens) FILTER (cache_read_tokens IS NOT NULL), 0), 1
    )::DOUBLE AS cached_percent,
    sum(output_tokens) AS output_tokens,
    if(NOT bool_or(billed), 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(cost_at_least_usd) FILTER (billed AND cost_usd IS NULL) AS at_least_usd,
    sum(computed_cost_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (cost_source = 'unknown' AND billed) AS unknown,
    grouping(provider) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((provider), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1
