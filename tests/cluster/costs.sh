#!/usr/bin/env bash
# What the questions of an agent cost an API server: bytes of an answer, and CPU time of the server. The figures of docs/scale.md come from
# here. Needs curl, and the cluster of `cargo xtask cluster up` with something in it, such as what `cargo xtask test cluster` leaves there.
set -euo pipefail
keys=${XDG_CACHE_HOME:-$HOME/.cache}/wirespan/cluster/run/keys
server=$(grep -o 'https://[0-9.]*:[0-9]*' "$keys/admin.kubeconfig" | head -1)
node=${NODE:-node-1}
rounds=${ROUNDS:-500}
list='Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
one='Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1'

ask() { curl --silent --fail --globoff --cert "$keys/admin.crt" --key "$keys/admin.key" --cacert "$keys/ca.crt" "$@"; }
spent() { ask "$server/metrics" | sed -n 's/^process_cpu_seconds_total //p'; }
first() { ask "$server$1" | python3 -c "import json, sys; print(next(x for x in ($2) if x))"; }
count() { ask "$server$1" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["items"]))'; }

# measure NAME HEADER PATH: on one connection, as an agent has it. What the server does meanwhile for others is measured for as long before
# and taken off.
measure() {
    local bytes before after other start took arguments=()
    bytes=$(ask --header "$2" "$server$3" | wc -c)
    for _ in $(seq "$rounds"); do arguments+=(--output /dev/null "$server$3"); done
    start=$(date +%s.%N); before=$(spent)
    ask --header "$2" "${arguments[@]}"
    after=$(spent); took=$(echo "$(date +%s.%N) - $start" | bc)
    other=$(spent); sleep "$took"; other=$(echo "$(spent) - $other" | bc)
    printf '%-46s %8d bytes %8.2f ms CPU\n' "$1" "$bytes" "$(echo "($after - $before - $other) * 1000 / $rounds" | bc -l)"
}

pods="/api/v1/pods?resourceVersion=0&limit=200&fieldSelector"
address=$(first "/api/v1/pods?fieldSelector=spec.nodeName=$node" 'x["status"].get("podIP") for x in json.load(sys.stdin)["items"]')
service=$(first /api/v1/services 'x["spec"].get("clusterIP") for x in json.load(sys.stdin)["items"]')
set_=$(first /apis/apps/v1/replicasets 'x["metadata"]["namespace"] + "/replicasets/" + x["metadata"]["name"] for x in json.load(sys.stdin)["items"]')
echo "$(count "/api/v1/pods?fieldSelector=spec.nodeName=$node") pods on $node, $(count /api/v1/pods) in all, $(count /api/v1/services) Services, $(count /api/v1/namespaces) namespaces"
measure "list of the pods of the node" "Accept: application/json" "$pods=spec.nodeName=$node"
measure "list of the namespaces' metadata" "$list" "/api/v1/namespaces?resourceVersion=0&limit=200"
measure "the node" "Accept: application/json" "/api/v1/nodes/$node"
measure "the metadata of a ReplicaSet" "$one" "/apis/apps/v1/namespaces/$set_"
measure "a pod by its address" "Accept: application/json" "$pods=status.podIP=$address"
measure "the same by its node, too" "Accept: application/json" "$pods=spec.nodeName=$node,status.podIP=$address"
measure "a Service by its address" "Accept: application/json" "/api/v1/services?resourceVersion=0&limit=200&fieldSelector=spec.clusterIP=$service"
