# The proxy in a container: docs/recipes/containers.md. It runs as a user without rights, on a read-only root filesystem;
# what it keeps is in /var/lib/metrion, and it needs a /tmp.
FROM python:3.13-slim

ENV METRION_HOME=/var/lib/metrion \
    PYTHONPATH=/opt/metrion/addon \
    PYTHONUNBUFFERED=1

WORKDIR /opt/metrion

# The dependencies, each by its hash, without the SDKs that only `metrion demo` calls.
COPY requirements.lock ./
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes -r requirements.lock \
    && pip uninstall --yes --root-user-action=ignore anthropic openai \
    && useradd --system --uid 10001 --home-dir /var/lib/metrion --shell /usr/sbin/nologin metrion \
    && install -d -m 0700 -o metrion -g metrion /var/lib/metrion

COPY --chmod=755 container/metrion /usr/local/bin/metrion
COPY LICENSE pricing.yaml ./
COPY addon ./addon
RUN python -m compileall -q addon

USER 10001:10001
VOLUME /var/lib/metrion
EXPOSE 8080

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["metrion", "health"]

# In a container, who can reach the port is decided outside of it: publish it on 127.0.0.1, or behind TLS.
ENTRYPOINT ["metrion"]
CMD ["serve", "--host", "0.0.0.0", "--insecure"]
