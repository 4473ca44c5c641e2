-- What went wrong: by provider, status, error type and how it ended, with the share of all that went to the provider.
WITH asked AS (
    SELECT * FROM failures_by(provider, status, error_type, end_reason, user_label)
), among AS (
    SELECT provider, requests_of(requests, shared) AS requests FROM sums_by(provider, end_reason)
    WHERE end_reason IS DISTINCT FROM 'retried' GROUP BY GROUPING SETS ((provider), ())
)
SELECT
    provider,
    status,
    error_type,
    end_reason,
    requests_of(asked.requests, shared) AS requests,
    round(
        100.0 * requests_of(asked.requests, shared)
        / (SELECT among.requests FROM among WHERE among.provider IS NOT DISTINCT FROM asked.provider), 2
    )::DOUBLE AS percent,
    count(DISTINCT user_label) AS users,
    date_trunc('second', min(first_at)) AS first_seen,
    date_trunc('second', max(last_at)) AS last_seen,
    grouping(provider) = 1 AS is_total
FROM asked
GROUP BY GROUPING SETS ((provider, status, error_type, end_reason), ())
ORDER BY is_total, requests DESC, 1, 2, 3, 4
