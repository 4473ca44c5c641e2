-- What went wrong: by provider, status, error type and how it ended, with the share of all that went to the provider.
WITH asked AS (
    SELECT request_id, provider, status, error_type, end_reason, user_label, started_at
    FROM events
    WHERE started_at >= coalesce($since::TIMESTAMP, '-infinity')
        AND started_at < coalesce($until::TIMESTAMP, 'infinity')
        AND end_reason IS DISTINCT FROM 'retried'  -- another attempt followed
), among AS (
    SELECT provider, count(DISTINCT request_id) AS requests FROM asked GROUP BY GROUPING SETS ((provider), ())
)
SELECT
    provider,
    status,
    error_type,
    end_reason,
    count(DISTINCT request_id) AS requests,
    round(
        100.0 * count(DISTINCT request_id)
        / (SELECT among.requests FROM among WHERE among.provider IS NOT DISTINCT FROM asked.provider), 2
    )::DOUBLE AS percent,
    count(DISTINCT user_label) AS users,
    date_trunc('second', min(started_at)) AS first_seen,
    date_trunc('second', max(started_at)) AS last_seen,
    grouping(provider) = 1 AS is_total
FROM asked
WHERE coalesce(status >= 400, true) OR error_type IS NOT NULL OR coalesce(end_reason, '') <> 'complete'
GROUP BY GROUPING SETS ((provider, status, error_type, end_reason), ())
ORDER BY is_total, requests DESC, 1, 2, 3, 4
