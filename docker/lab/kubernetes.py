"""make lab LB=kubernetes: what a rollout costs on a real Kubernetes.

On the cluster of kubectl's current context (cluster.py says how images get there),
in a namespace of its own, a Deployment is restarted by `kubectl rollout restart`
while Locust, in a pod, sends to its Service: fresh and kept connections, and slow
requests. Of the variables of docker/lab/lab it takes VARIANTS, TOPOLOGY, DELAY,
GRACE, STOPS, RATE and RESULTS; some have another meaning or default:

  VARIANTS  also `prestop-…`: a shell as PID 1, and a preStop hook; default: all,
            but for drainit-ready, as Kubernetes has no use for a HEALTHCHECK
  TOPOLOGY  default: one, and for drainit also pod-tcp
  GRACE     terminationGracePeriodSeconds; default: 30
  STOPS     rollouts in each row; default: 3
  RATE      default: 80
  REPLICAS  pods of a Deployment; default: 3
  INGRESS   the class of an ingress controller: Locust sends to that
  INGRESS_ADDRESS
            HOST[:PORT] of it, where the Ingress' status doesn't say
"""

import pathlib
import random
import time

import timeline
from cluster import (
    Cluster, LoadPod, Pods, apply, ask_for, create_namespace, kubectl, new_name, remove_namespace, wait_for_rollout,
)
from shared import (
    HERE, NAME, TOPOLOGIES, Fault, build_load, build_variants, cleaning, finish, kinds_in, known_variants, locust_version,
    make_lab, markdown, needs_docker, number, origin, own_lines, read_reports, run_long, say, span, versions, words,
    write_results,
)

# A hook in each pod, and the variant whose image that has.
RECIPES = {
    "prestop-sleep": ("tini-shell", "sleep 5"),
    "prestop-quit": ("tini-shell", "sleep 5; nginx -s quit"),
    "prestop-quit-wait": ("tini-shell", "sleep 5; nginx -s quit; while [ -e /run/nginx.pid ]; do sleep 0.1; done"),
}
GRACE = 30
INGRESS_HOST = "drainit-lab.test"
# What a lab needs to be allowed, in its own namespace.
NEEDS = [
    ("create", "deployments.apps"), ("patch", "deployments.apps"), ("delete", "deployments.apps"),
    ("create", "services"), ("create", "pods"), ("create", "pods/exec"), ("watch", "pods"), ("get", "pods/log"),
]
# How much of a stop the picture and the timeline show before and after it.
MARGIN = 2.0


def choices(environ):
    known = [name for name in known_variants() if name != "drainit-ready"]
    at = known.index("drainit")
    known[at:at] = RECIPES
    variants = words(environ, "VARIANTS", known, [*known, "drainit-ready"])
    rows = [(variant, topology) for topology in words(environ, "TOPOLOGY", ["one"], list(TOPOLOGIES)) for variant in variants]
    if not environ.keys() & {"VARIANTS", "TOPOLOGY"}:
        rows.append(("drainit", "pod-tcp"))
    for variable in ("IMAGE", "LAG", "MODE", "CHECK", "PORT"):
        if variable in environ:
            raise Fault(f"{variable}: is nothing for LB=kubernetes")
    return {
        "rows": rows,
        "delay": environ.get("DELAY"),
        "grace": number("GRACE", environ.get("GRACE", str(GRACE)), int, 1, 3600),
        "stops": number("STOPS", environ.get("STOPS", "3"), int, 1, 1000),
        "rate": number("RATE", environ.get("RATE", "80"), int, 1, 160),
        "replicas": number("REPLICAS", environ.get("REPLICAS", "3"), int, 1, 100),
        "ingress": environ.get("INGRESS"),
        "ingress_address": environ.get("INGRESS_ADDRESS"),
        "results": pathlib.Path(environ.get("RESULTS", HERE / "results")),
    }


# --- what runs there --------------------------------------------------------


def image_of(variant):
    return RECIPES.get(variant, (variant,))[0]


def service(name, port):
    selector = {"app": name}
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"port": port, "targetPort": port}]},
    }


def deployment(name, replicas, pod):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "progressDeadlineSeconds": 120,
            # A pod goes only when its successor is ready, as in docker/kubernetes.
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": False, **pod}},
        },
    }


def pod_of(row, images, upstream):
    """Of the containers of a topology; pages name what they wait for without a DNS."""
    containers = []
    for role in TOPOLOGIES[row["topology"]]:
        container = {
            "name": role, "image": images[f"{NAME}-{image_of(row['variant'])}:{role}"], "imagePullPolicy": "IfNotPresent",
            "env": [{"name": name, "value": value} for name, value in row["environment"].items()],
        }
        if row["topology"] == "pod-unix":
            container["volumeMounts"] = [{"name": "run", "mountPath": "/run/php"}]
        if not role.startswith("php-fpm"):
            if row["variant"] in RECIPES:
                container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", RECIPES[row["variant"]][1]]}}}
            container["readinessProbe"] = {
                "httpGet": {"path": "/fast.php", "port": 80}, "periodSeconds": 1, "timeoutSeconds": 2,
            }
        containers.append(container)
    return {
        "containers": containers, "terminationGracePeriodSeconds": row["grace_s"],
        "hostAliases": [{"ip": upstream, "hostnames": ["upstream"]}],
        "volumes": [{"name": "run", "emptyDir": {}}] if row["topology"] == "pod-unix" else [],
    }


def ingress(ingress_class):
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": INGRESS_HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"ingressClassName": ingress_class, "rules": [rule]},
    }


def address_of_ingress(namespace, chosen):
    until = time.monotonic() + 60
    while not (address := chosen["ingress_address"]):
        status = ask_for("ingress", "web", "--namespace", namespace).get("status", {})
        for one in status.get("loadBalancer", {}).get("ingress", []):
            return f"{one.get('ip') or one['hostname']}:80"
        if time.monotonic() > until:
            raise Fault(f"INGRESS: no controller of the class {chosen['ingress']} says its address; INGRESS_ADDRESS may")
        time.sleep(0.5)
    return address if ":" in address else f"{address}:80"


def address_of(service, port):
    address = service["spec"].get("clusterIP") or "None"
    if address == "None":
        raise Fault(f"the Service {service['metadata']['name']} has no address of the cluster's")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- one row ----------------------------------------------------------------


def measure(row, load, urls, pods, chosen, logs):
    """Restarts the Deployment under load; fills in the row, and returns what the
    picture needs."""
    namespace, name = row["namespace"], row["deployment"]
    with open(logs / "locust.log", "w", encoding="utf-8") as errors:
        sent = load.send(chosen["rate"], urls, errors)
        sent.steady()
        # The picture is of half seconds.
        begin = int(time.time() * 2) / 2
        pause(pods, 3)
        took = []
        for rollout in range(chosen["stops"]):
            before = set(pods.stopped())
            asked = time.time()
            kubectl("rollout", "restart", "--namespace", namespace, f"deployment/{name}")
            wait_for_rollout(namespace, name, pods)
            took.append(round(time.time() - asked, 1))
            # The watch may be a moment behind.
            pause(pods, 0.5)
            until = time.monotonic() + row["grace_s"] + 60
            while pods.are_stopping():
                if time.monotonic() > until:
                    raise Fault(f"pods of {name} don't end within their grace period and a minute")
                pause(pods, 0.1)
            say(
                f"  rollout {rollout + 1} of {chosen['stops']} took {took[-1]} s; "
                f"failures so far: {len(sent.failures)} of {sent.sent()} requests"
            )
            # The stops fall on different moments of the load's bursts.
            pause(pods, random.uniform(2, 4))
        length = time.time() - begin
        sent.finish()
    sent.save_failures(logs / "failures.jsonl")
    row.update(sent.figures(chosen["rate"]), rollouts=chosen["stops"], seconds_per_rollout=took)
    fill(row, sent, pods)
    # The first of the last rollout: no other one stops before it.
    shown = next(pod for pod in pods.stopped() if pod not in before)
    return {
        "title": row["variant"],
        "counts": [[at, outcome, count] for at, outcome, count, _ in sent.since(begin)],
        "stops": [[asked - begin, over - begin] for asked, over in map(pods.times, pods.stopped())],
        "stop": "a pod's stop",
        "length": length,
        "rate": chosen["rate"],
        "result": f"{row['failures'] / row['stops']:.3g} failures a stop\n{row['topology']}, {row['through']}",
        "pod": stop_of(shown, sent, pods),
    }


def fill(row, sent, pods):
    """What the row says of the stops."""
    stopped = pods.stopped()
    lengths = [over - asked for asked, over in map(pods.times, stopped)]
    reports = [report for pod in stopped for report in read_reports(pods.log(pod))]
    refused = [report["refused"] for report in reports if report["refused"] is not None]
    # Through an ingress a connection isn't the pod's.
    which = 1 if row["through"] != "Service" else 0
    last = [sent.latest[pod][which] - pods.times(pod)[0] for pod in stopped if pod in sent.latest]
    row.update(
        stops=len(stopped),
        seconds_per_stop=round(sum(lengths) / len(lengths), 2),
        last_connections_s=[round(max(at, 0), 2) for at in last],
        delays_s=[report["delay"] for report in reports],
        busy_s=[report["busy"] for report in reports if report["busy"] is not None],
        refused=sum(refused) if refused else None,
        exits=[report["exit"] for report in reports],
    )


def stop_of(pod, sent, pods):
    """One pod's stop, in seconds since its deletion."""
    asked, over = pods.times(pod)
    counts = sent.since(asked)
    return {
        "length": over - asked,
        "margin": MARGIN,
        "counts": [[at, outcome, count] for at, outcome, count, _ in counts],
        "answers": [[at, count] for at, outcome, count, server in counts if outcome == "ok" and server == pod],
        # The watch tells of the deletion a moment later.
        "lines": [[max(at, 0), said] for at, said in own_lines(pods.log(pod), asked) if at > -0.5],
    }


def pause(pods, seconds):
    until = time.monotonic() + seconds
    pods.tend()
    while time.monotonic() < until:
        time.sleep(min(0.1, max(0, until - time.monotonic())))
        pods.tend()


def text_of(series):
    """One pod's stop second by second, beside what drainit said."""
    pod = series["pod"]
    columns = timeline.by_outcome(pod["counts"])
    if pod["answers"]:
        columns = {"answered": columns.pop("answered"), "by it": pod["answers"], **columns}
    lines = timeline.table(columns, pod["lines"], -int(MARGIN), int(pod["length"] + MARGIN) + 1)
    title = f"{series['title']}, {series['result'].splitlines()[1]}: a stop of one pod, in seconds since its deletion"
    return f"{title}\n\n```text\n{lines}```\n"


def table(rows):
    kinds = kinds_in(rows)
    head = [
        "variant", "topology", "through", "pods", "rollouts", "stops", "requests", "failures", "per stop", *kinds,
        "s per rollout", "s per stop", "last connection", "drainit's delay", "its busy until", "its refused", "its exit",
    ]
    lines = [
        [
            row["variant"], row["topology"], row["through"], row["replicas"], row["rollouts"], row["stops"],
            row["requests"], f"**{row['failures']}**", f"{row['failures'] / row['stops']:.1f}",
            *(row["failures_by_kind"][kind] or "" for kind in kinds),
            f"{sum(row['seconds_per_rollout']) / len(row['seconds_per_rollout']):.1f}", f"{row['seconds_per_stop']:.1f}",
            span(row["last_connections_s"]), span(row["delays_s"]), span(row["busy_s"]),
            "" if row["refused"] is None else row["refused"], " ".join(sorted({str(code) for code in row["exits"]})),
        ]
        for row in rows
    ]
    return markdown(head, lines, 3)


# --- the lab ----------------------------------------------------------------


def write(chosen, rows, series):
    text = "\n".join([chosen["origin"], table(rows), *map(text_of, series)])
    write_results(chosen["results"], rows, series, text)


def run(variant, topology, namespace, images, upstream, load, chosen):
    row = {
        "variant": variant, "topology": topology, "through": chosen["ingress"] or "Service",
        "namespace": namespace, "deployment": "web", "replicas": chosen["replicas"], "grace_s": chosen["grace"],
        "environment": {},
    }
    if variant.startswith("drainit"):
        if chosen["delay"]:
            row["environment"]["DRAINIT_DELAY"] = chosen["delay"]
        if chosen["grace"] != GRACE:
            row["environment"]["DRAINIT_GRACE_PERIOD"] = f"{chosen['grace']}s"
    logs = chosen["results"] / "logs" / f"kubernetes_{variant}_{topology}_{row['through']}"
    logs.mkdir(parents=True, exist_ok=True)
    pods = Pods(namespace, "app=web", logs)
    apply(namespace, deployment("web", row["replicas"], pod_of(row, images, upstream)))
    wait_for_rollout(namespace, "web", pods)
    load.needs_an_answer("/slow.php?s=0.1")
    series = measure(row, load, [], pods, chosen, logs)
    # Its pods, too: those of the next row have the machine for themselves.
    options = ["--cascade=foreground", f"--timeout={row['grace_s'] + 60}s"]
    run_long("kubectl", "delete", "deployment", "web", "--namespace", namespace, *options)
    pods.end()
    del row["environment"], row["namespace"]
    return row, series


def lab(cluster, namespace, chosen):
    chosen["results"].mkdir(parents=True, exist_ok=True)
    wanted = [(image_of(variant), topology) for variant, topology in chosen["rows"]]
    say("building images (some minutes at the first time)")
    build_load()
    build_variants(wanted)
    say(f"bringing them to the cluster of the context {cluster.context}")
    images = dict.fromkeys(f"{NAME}-{variant}:{role}" for variant, topology in wanted for role in TOPOLOGIES[topology])
    images = cluster.bring([f"{NAME}-load", *images])
    parts = [cluster.nodes_in_words(), locust_version(), versions(dict.fromkeys(f"{NAME}-{variant}" for variant, _ in wanted))]
    chosen["origin"] = origin(make_lab(), chosen["rate"], parts)

    load, upstream = prepare(namespace, images[f"{NAME}-load"], chosen)
    rows, series = [], []
    for variant, topology in chosen["rows"]:
        say(f"row {len(rows) + 1} of {len(chosen['rows'])}: {variant}, {topology}")
        row, drawn = run(variant, topology, namespace, images, upstream, load, chosen)
        rows.append(row)
        series.append(drawn)
        write(chosen, rows, series)
    finish(chosen["results"], table(rows))


def prepare(namespace, image, chosen):
    """Makes what all rows have: returns the pod for Locust, and the address of what
    slow pages wait for."""
    upstream = {
        "containers": [{
            "name": "upstream", "image": image, "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "/upstream.py"], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        }],
        "terminationGracePeriodSeconds": 0,
    }
    create_namespace(namespace)
    apply(namespace, deployment("upstream", 1, upstream), service("upstream", 8000), service("web", 80))
    logs = chosen["results"] / "logs"
    logs.mkdir(exist_ok=True)
    pods = Pods(namespace, "app=upstream", logs)
    wait_for_rollout(namespace, "upstream", pods)
    pods.end()
    if chosen["ingress"]:
        apply(namespace, ingress(chosen["ingress"]))
        load = LoadPod(namespace, image, address_of_ingress(namespace, chosen), INGRESS_HOST)
    else:
        load = LoadPod(namespace, image, address_of(ask_for("service", "web", "--namespace", namespace), 80))
    load.start()
    return load, ask_for("service", "upstream", "--namespace", namespace)["spec"]["clusterIP"]


def main(environ):
    chosen = choices(environ)
    cluster = Cluster()
    cluster.ask_first()
    needs_docker()
    namespace = new_name("")
    cluster.needs(None, ("create", "namespaces"), ("delete", "namespaces"))
    cluster.needs(namespace, *NEEDS, *([("create", "ingresses.networking.k8s.io")] if chosen["ingress"] else []))
    with cleaning(lambda: remove_namespace(namespace)):
        lab(cluster, namespace, chosen)
