-- How long answers take, in milliseconds: first byte, whole answer, and what of it is Metrion's own (overhead).
-- Only generations that a provider answered with success, to their end: reading is quick, so is a refusal, a cut is short.
SELECT
    provider,
    coalesce(model, model_requested) AS model,
    count(*) AS requests,
    round(quantile_cont(first_byte_ms, 0.50), 1) AS first_byte_p50,
    round(quantile_cont(first_byte_ms, 0.95), 1) AS first_byte_p95,
    round(quantile_cont(first_byte_ms, 0.99), 1) AS first_byte_p99,
    round(quantile_cont(latency_ms, 0.50), 1) AS latency_p50,
    round(quantile_cont(latency_ms, 0.95), 1) AS latency_p95,
    round(quantile_cont(latency_ms, 0.99), 1) AS latency_p99,
    round(quantile_cont(overhead_ms, 0.50), 2) AS overhead_p50,
    round(quantile_cont(overhead_ms, 0.95), 2) AS overhead_p95,
    round(quantile_cont(overhead_ms, 0.99), 2) AS overhead_p99,
    grouping(provider) = 1 AS is_total
FROM billing
WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
    AND started_at < coalesce($until::TIMESTAMP, 'infinity')
    AND method = 'POST' AND (billed OR cost_source = 'subscription')
    AND end_reason = 'complete' AND status BETWEEN 200 AND 299
GROUP BY GROUPING SETS ((provider, coalesce(model, model_requested)), ())
ORDER BY is_total, requests DESC, 1, 2
