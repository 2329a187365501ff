# What every shell and every process of Ray finds on a node; ~/.bashrc reads it, and Ray's launcher reads that first.
export PATH="$HOME/.batch-orchestrator/venv/bin:$PATH"
# Every call to Ray's services needs the token of ~/.ray/auth_token. Without this line a node may be open, or shut out.
export RAY_AUTH_MODE=token
# A link that was cut without a word counts as broken after 10 s. By default nobody notices for more than a minute.
export RAY_grpc_client_keepalive_time_ms=5000 RAY_grpc_client_keepalive_timeout_ms=5000
# Processes of TensorFlow take seconds to start: they are kept while a search pauses, and do not yield to others.
export RAY_idle_worker_killing_time_threshold_ms=3600000 RAY_worker_niceness=0
export RAY_USAGE_STATS_ENABLED=0
