-- How long answers take, in milliseconds: first byte, whole answer, and what of it is Metrion's own (overhead).
-- Only generations that a provider answered with success, to their end: reading is quick, so is a refusal, a cut is short.
-- Of up to 100,000 answers the percentiles are exact. Of more they are made of a histogram, whose steps are 4.4 % apart.
WITH timed AS NOT MATERIALIZED (
    SELECT provider, coalesce(model, model_requested) AS model, first_byte_ms, latency_ms, overhead_ms
    FROM rows_asked()
    WHERE method = 'POST' AND (billed OR cost_source = 'subscription')
        AND end_reason = 'complete' AND status BETWEEN 200 AND 299
), steps AS MATERIALIZED (
    SELECT 'latency' AS time_of, provider, model, step_of(latency_ms) AS step, count(*) AS answers
    FROM timed GROUP BY ALL
    UNION ALL
    SELECT 'first_byte', provider, model, step_of(first_byte_ms), count(*) FROM timed GROUP BY ALL
    UNION ALL
    SELECT 'overhead', provider, model, step_of(overhead_ms), count(*) FROM timed GROUP BY ALL
), is_long AS (
    SELECT coalesce(sum(answers) > 100000, false) AS it FROM steps WHERE time_of = 'latency'
), counted AS (
    SELECT provider, model, time_of, step, sum(answers) AS answers, grouping(provider) = 1 AS is_total
    FROM steps GROUP BY GROUPING SETS ((provider, model, time_of, step), (time_of, step))
), placed AS (
    SELECT
        *,
        sum(answers) OVER (PARTITION BY is_total, provider, model, time_of) - 1 AS last_place,
        sum(answers) OVER (PARTITION BY is_total, provider, model, time_of ORDER BY step) - answers AS before
    FROM counted WHERE step IS NOT NULL
), found AS (
    SELECT
        is_total, provider, model, time_of, percent,
        bound_of(step - 1 + (percent / 100 * last_place - before + 0.5) / answers) AS ms
    FROM placed, (VALUES (50), (95), (99)) AS asked(percent)
    WHERE percent / 100 * last_place >= before AND percent / 100 * last_place < before + answers
), percentiles AS (
    SELECT
        provider,
        model,
        count(*) AS requests,
        quantile_cont(first_byte_ms, [0.50, 0.95, 0.99]) AS first_byte,
        quantile_cont(latency_ms, [0.50, 0.95, 0.99]) AS latency,
        quantile_cont(overhead_ms, [0.50, 0.95, 0.99]) AS overhead,
        grouping(provider) = 1 AS is_total
    FROM timed
    WHERE NOT (SELECT it FROM is_long)
    GROUP BY GROUPING SETS ((provider, model), ())
    HAVING NOT (SELECT it FROM is_long)
    UNION ALL
    SELECT
        provider,
        model,
        (
            SELECT sum(answers) FROM counted
            WHERE time_of = 'latency' AND counted.is_total = found.is_total
                AND counted.provider IS NOT DISTINCT FROM found.provider
                AND counted.model IS NOT DISTINCT FROM found.model
        ),
        list(ms ORDER BY percent) FILTER (time_of = 'first_byte'),
        list(ms ORDER BY percent) FILTER (time_of = 'latency'),
        list(ms ORDER BY percent) FILTER (time_of = 'overhead'),
        is_total
    FROM found
    WHERE (SELECT it FROM is_long)
    GROUP BY is_total, provider, model
)
SELECT
    provider,
    model,
    requests::BIGINT AS requests,
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
