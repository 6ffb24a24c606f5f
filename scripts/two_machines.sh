#!/usr/bin/env bash
# Two network namespaces as two machines, without ssh: `two_machines.sh up`, `run COMMAND...` on the first, `cut`, `down`.
# Needs root, `ip` and an MPI. A run across both:
#
#   scripts/two_machines.sh up
#   scripts/two_machines.sh run train_control_cogview4 launch --num_machines 2 --num_processes 4 --oversubscribe \
#       --hostfile target/two_machines/hosts --mpirun_args "$(scripts/two_machines.sh mpirun_args)" ...
set -euo pipefail
folder=$(cd "$(dirname "$0")/.." && pwd)/target/two_machines
case "${1:-}" in
up)
    mkdir -p "$folder"
    for node in 0 1; do ip netns add node$node; done
    ip link add veth0 netns node0 type veth peer name veth1 netns node1
    for node in 0 1; do
        ip -n node$node addr add 10.9.0.$((node + 1))/24 dev veth$node
        ip -n node$node link set veth$node up
        ip -n node$node link set lo up
    done
    printf '%s slots=2\n' 10.9.0.1 10.9.0.2 > "$folder/hosts"
    # What mpirun takes for ssh: a host name of its own, so that neither MPI takes both machines for one.
    cat > "$folder/agent.sh" <<'AGENT'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
node=$((${host##*.} - 1))
exec ip netns exec node$node unshare --uts sh -c "hostname node$node; $*"
AGENT
    chmod +x "$folder/agent.sh"
    ;;
mpirun_args)
    echo "--mca plm_rsh_agent $folder/agent.sh --mca btl_tcp_if_include 10.9.0.0/24 --mca oob_tcp_if_include 10.9.0.0/24"
    ;;
run)
    shift
    exec ip netns exec node0 unshare --uts sh -c 'hostname node0; exec "$@"' sh "$@"
    ;;
cut)
    ip -n node1 link set veth1 down
    ;;
down)
    for node in 0 1; do ip netns del node$node; done
    rm -rf "$folder"
    ;;
*)
    echo "usage: two_machines.sh up | run COMMAND... | mpirun_args | cut | down" >&2
    exit 1
    ;;
esac
