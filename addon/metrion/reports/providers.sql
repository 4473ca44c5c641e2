-- What went to each provider: requests, failures, refusals of Metrion's own, tokens, the share read from caches, dollars.
SELECT
    provider,
    count(DISTINCT request_id) AS requests,
    count(*) FILTER (status >= 400 AND end_reason IS DISTINCT FROM 'refused') AS failed,
    count(*) FILTER (end_reason = 'refused') AS refused,
    sum(input_tokens) AS input_tokens,
    round(
        100.0 * sum(cache_read_tokens)
        / nullif(sum(input_tokens) FILTER (cache_read_tokens IS NOT NULL), 0), 1
    )::DOUBLE AS cached_percent,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) FILTER (cost_source = 'unpriced') AS unpriced,
    count(*) FILTER (coalesce(cost_source, 'unknown') = 'unknown' AND NOT settled_later) AS unknown,
    grouping(provider) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
GROUP BY GROUPING SETS ((provider), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1
