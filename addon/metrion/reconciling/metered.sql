-- What was metered of one provider, by the day on which its bill counts it and by the model that it is billed under,
-- with the provider's first and last day beside each line. One line without a model where there is nothing.
WITH told_later AS (  -- what was not done when its request was answered, and is billed in the row that read it back
    SELECT provider, unnest([generation_id, split_part(path, '/', -1)]) AS id FROM events
    WHERE (method <> 'POST' OR operation = 'runs') AND cost_source NOT IN ('not_billed', 'unknown')
), passed AS (
    SELECT
        * REPLACE (coalesce(cost_source, 'unknown') AS cost_source),
        timezone($zone, timezone('UTC', started_at))::DATE AS day
    FROM events
    WHERE provider = $provider
), asked AS (
    SELECT * FROM passed WHERE day BETWEEN $first AND $last AND cost_source <> 'not_billed'
), others AS (  -- what another model did for a request, which is billed under that model's name
    SELECT event_id, regexp_extract(part.key, '(.*):', 1) AS model, sum(part.value) AS usd
    FROM (
        SELECT event_id, unnest(map_entries(cost_parts)) AS part FROM asked
        WHERE cost_source IN ('computed', 'estimated')
    )
    WHERE contains(part.key, ':')
    GROUP BY ALL
), billable AS (
    SELECT
        day,
        coalesce(model, model_requested) AS model,
        request_id,
        cost_usd - coalesce((SELECT sum(usd) FROM others WHERE others.event_id = asked.event_id), 0) AS usd,
        input_tokens,
        output_tokens,
        cost_at_least_usd,
        cost_source,
        cost_source = 'unknown'
            AND (generation_id IS NULL OR (provider, generation_id) NOT IN (FROM told_later WHERE id IS NOT NULL))
            AS is_unknown
    FROM asked
    UNION ALL
    SELECT day, others.model, NULL, others.usd, NULL, NULL, NULL, NULL, false FROM asked JOIN others USING (event_id)
), lines AS (
    SELECT
        day,
        model,
        count(DISTINCT request_id) AS requests,
        sum(usd) AS usd,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        count(*) FILTER (cost_source = 'unpriced') AS unpriced,
        count(*) FILTER (is_unknown) AS unknown,
        sum(cost_at_least_usd) FILTER (cost_source = 'unpriced' OR is_unknown) AS at_least_usd,
        count(*) FILTER (cost_source = 'estimated') AS estimated,
        count(*) FILTER (cost_source = 'subscription') AS subscription
    FROM billable
    WHERE usd IS NOT NULL OR cost_source = 'unpriced' OR is_unknown  -- the others are in another row
    GROUP BY ALL
)
SELECT first_day, last_day, lines.*
FROM (SELECT min(day) AS first_day, max(day) AS last_day FROM passed)
LEFT JOIN lines ON true
ORDER BY ALL
