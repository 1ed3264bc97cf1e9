# The series, training, batch scoring and sweeps. From the repository's root:
#   docker build -f docker/pipeline.Dockerfile -t skin-lesion-lab .
#   mkdir -p reports scores && chmod a+w reports scores    # the container's user has no other rights to them
#   docker run --rm -v "$PWD/reports:/srv/reports" -v lab-cache:/cache skin-lesion-lab python run_all.py --data demo
#   docker run --rm -v "$PWD/images:/images:ro" -v "$PWD/scores:/scores" skin-lesion-lab \
#     skinlesion score /images --output /scores
# For GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple (PyPI's build of torch brings CUDA), and run with --gpus all.
FROM debian:bookworm-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 SKINLESION_CACHE=/cache HOME=/cache

RUN apt-get update \
 && apt-get install -y --no-install-recommends git python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /cache lab \
 && mkdir -p /cache /srv/reports \
 && chown lab /cache /srv/reports

WORKDIR /srv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lib lib
RUN python3 -m venv /opt/venv \
 && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt -e '.[lab,pretrained,scale]'
COPY run_all.py ./
COPY notebooks notebooks
# the committed tables that the notebooks show
COPY experiments/table.csv experiments/leak.csv experiments/

USER lab
CMD ["python", "run_all.py", "--help"]
