#!/bin/bash
# Workers of a shared run as a job array: each task joins the run, works, and leaves when it is over.
#
#     callsheet run prompts.jsonl answers.jsonl --shared "$CALLSHEET_SHARED_URL"   # shows the RUN
#     sbatch --array=1-20 deploy/scale/slurm-array.sh RUN
#
# Tasks may start, end and be preempted at any time; more may be added to a run that goes on.
#SBATCH --job-name=callsheet
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=04:00:00
# Two minutes before the time is over, the worker, which is the process of this script, gets SIGTERM:
# it finishes the calls in flight, and gives the other rows back.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=callsheet-%A_%a.log
set -euo pipefail

run="${1:?usage: sbatch --array=1-20 slurm-array.sh RUN}"

# The URL of the server and the key of the provider, each as NAME=value, in a file that only you can
# read. The environment of a job can be seen by others on many clusters; so can its arguments.
environment="${CALLSHEET_ENVIRONMENT:-$HOME/.config/callsheet/environment}"
if [[ -r "$environment" ]]; then
    set -a
    # shellcheck disable=SC1090  # the file is chosen when the job runs
    source "$environment"
    set +a
fi

# A worker writes each answer to its journal before it hands it in. It belongs on a disk of the node:
# a network drive may not keep what was written to it.
journal="${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/callsheet-$(id -u)"
mkdir -p "$journal"
chmod 700 "$journal"

# Without a shell between, the signal reaches the worker.
exec callsheet work "${CALLSHEET_SHARED_URL:?set it in $environment}" "$run" --journal "$journal"
