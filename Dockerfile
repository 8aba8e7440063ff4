# One image for the API and the workers; docker-compose.yml says which command each runs.
# torch is pip's own build, which works with and without an NVIDIA GPU but is large. TORCH_INDEX takes another: the
# address PyTorch's install page gives for the small CPU build, or for a certain version of CUDA.
FROM python:3.11-slim

ARG TORCH_INDEX=
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_WAIT_POLICY=PASSIVE

WORKDIR /app

# Least often changed first: torch, then what the service depends on (there are no packages yet), then the service.
COPY requirements.lock ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' requirements.lock)"
COPY pyproject.toml README.md LICENSE NOTICE ./
RUN pip install --constraint requirements.lock ".[s3,fully-bayesian,otel]"
COPY . .
RUN pip install --no-deps --editable .

# Everything that is kept or cached lies in /data, the only place this user may write.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin milp \
    && install -d -o milp -g milp /data
ENV MILP_DATA_DIR=/data \
    MILP_HOST=0.0.0.0 \
    HF_HOME=/data/huggingface \
    MPLCONFIGDIR=/data/matplotlib
USER milp
VOLUME /data
EXPOSE 8321

CMD ["uvicorn", "--factory", "app.main:create_app", "--host", "0.0.0.0", "--port", "8321", "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "10", "--timeout-keep-alive", "75"]
