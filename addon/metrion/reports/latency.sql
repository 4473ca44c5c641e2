-- How long answers take, in milliseconds: first byte, whole answer, and what of it is Metrion's own (overhead).
-- Only generations that a provider answered with success, to their end: reading is quick, so is a refusal, a cut is short.
-- Of up to 100,000 answers the percentiles are exact. Of more they are made of a histogram, whose steps are 4.4 % apart.
WITH percentiles AS (
    SELECT
        provider,
        coalesce(model, model_requested) AS model,
        count(*) AS requests,
        quantile_cont(first_byte_ms, [0.50, 0.95, 0.99]) AS first_byte,
        quantile_cont(latency_ms, [0.50, 0.95, 0.99]) AS latency,
        quantile_cont(overhead_ms, [0.50, 0.95, 0.99]) AS overhead,
        grouping(provider) = 1 AS is_total
    FROM rows_asked()
    WHERE method = 'POST' AND (billed OR cost_source = 'subscription')
        AND end_reason = 'complete' AND status BETWEEN 200 AND 299
    GROUP BY GROUPING SETS ((provider, coalesce(model, model_requested)), ())
)
SELECT
    provider,
    model,
    requests,
    round(first_byte[1], 1) AS first_byte_p50,
    round(first_byte[2], 1) AS first_byte_p95,
    round(first_byte[3], 1) AS first_byte_p99,
    round(latency[1], 1) AS latency_p50,
    round(latency[2], 1) AS latency_p95,
    round(latency[3], 1) AS latency_p99,
    round(overhead[1], 2) AS overhead_p50,
    round(overhead[2], 2) AS overhead_p95,
    round(overhead[3], 2) AS overhead_p99,
    is_total
FROM percentiles
ORDER BY is_total, requests DESC, 1, 2
-- Of more answers, by histograms:
WITH counted AS (
    SELECT provider, model, time_of, step, sum(responses) AS answers, grouping(provider) = 1 AS is_total
    FROM times_between(coalesce($since::TIMESTAMP, '-infinity'), coalesce($until::TIMESTAMP, 'infinity'))
    GROUP BY GROUPING SETS ((provider, model, time_of, step), (time_of, step))
), placed AS (
    SELECT
        *,
        sum(answers) OVER (PARTITION BY is_total, provider, model, time_of) - 1 AS last_place,
        sum(answers) OVER (PARTITION BY is_total, provider, model, time_of ORDER BY step) - answers AS before
    FROM counted
), found AS (
    SELECT
        is_total, provider, model, time_of, percent, last_place + 1 AS answers,
        bound_of(step - 1 + (floor(percent / 100 * last_place) - before + 0.5) / answers) AS ms
    FROM placed, (VALUES (50), (95), (99)) AS asked(percent)
    WHERE percent / 100 * last_place >= before AND percent / 100 * last_place < before + answers
)
SELECT
    provider,
    model,
    max(answers) FILTER (time_of = 'latency')::BIGINT AS requests,
    round(any_value(ms) FILTER (time_of = 'first_byte' AND percent = 50), 1) AS first_byte_p50,
    round(any_value(ms) FILTER (time_of = 'first_byte' AND percent = 95), 1) AS first_byte_p95,
    round(any_value(ms) FILTER (time_of = 'first_byte' AND percent = 99), 1) AS first_byte_p99,
    round(any_value(ms) FILTER (time_of = 'latency' AND percent = 50), 1) AS latency_p50,
    round(any_value(ms) FILTER (time_of = 'latency' AND percent = 95), 1) AS latency_p95,
    round(any_value(ms) FILTER (time_of = 'latency' AND percent = 99), 1) AS latency_p99,
    round(any_value(ms) FILTER (time_of = 'overhead' AND percent = 50), 2) AS overhead_p50,
    round(any_value(ms) FILTER (time_of = 'overhead' AND percent = 95), 2) AS overhead_p95,
    round(any_value(ms) FILTER (time_of = 'overhead' AND percent = 99), 2) AS overhead_p99,
    is_total
FROM found
GROUP BY is_total, provider, model
ORDER BY is_total, requests DESC, 1, 2
