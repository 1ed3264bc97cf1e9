# The Flask app with the shipped model; no torch. From the repository's root:
#   docker build -f docker/app.Dockerfile -t skin-lesion-app .
#   docker run --rm -p 127.0.0.1:5000:5000 --read-only --cpuset-cpus 0-1 --memory 2g skin-lesion-app
#
# One process serves all requests (cheroot) and predicts as many uploads at once as it may use cores, eight at most. It
# holds some 190 MB after the first one (benchmarks/results/serve.json), bodies that wait take up to 244 MiB, and an upload of the
# largest image up to 700 MB while it is predicted, so give it 450 MB + 700 MB for each core where strangers upload.
# --cpuset-cpus tells it how many those are; a quota (--cpus, or a limit in Kubernetes) cannot. More processes would each
# hold a model of their own and serve no more images: the cores are busy already.
FROM debian:bookworm-slim

ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app

WORKDIR /srv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lib lib
RUN python3 -m venv /opt/venv \
 && pip install --no-cache-dir -c constraints.txt -e '.[app]' \
 && pip uninstall --yes setuptools pip
COPY app app

USER app
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/healthz', timeout=4)"]
CMD ["python", "-m", "app.web", "--host", "0.0.0.0", "--port", "5000"]
