-- What went to each provider: requests, failures, refusals of Metrion's own, tokens, the share read from caches, dollars.
SELECT
    provider,
    requests_of(requests, shared) AS requests,
    requests_of(if(is_failed, requests, 0), if(is_failed, shared, NULL)) AS failed,
    requests_of(if(is_refused, requests, 0), if(is_refused, shared, NULL)) AS refused,
    sum(input_tokens) AS input_tokens,
    round(
        100.0 * sum(cache_read_tokens)
        / nullif(sum(cacheable_tokens), 0), 1
    )::DOUBLE AS cached_percent,
    sum(output_tokens) AS output_tokens,
    if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed)) AS cost_usd,
    sum(floor_usd) FILTER (billed) AS at_least_usd,
    sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd,
    coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)::BIGINT AS unpriced,
    coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)::BIGINT AS unknown,
    grouping(provider) = 1 AS is_total
FROM (
    SELECT
        *,
        status >= 400 AND coalesce(end_reason, '') NOT IN ('refused', 'retried') AS is_failed,
        end_reason = 'refused' AS is_refused
    FROM sums_by(provider, status, end_reason, cost_source, billed)
)
GROUP BY GROUPING SETS ((provider), ())
ORDER BY is_total, cost_usd DESC NULLS LAST, requests DESC, 1
