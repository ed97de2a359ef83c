"""A Kubernetes cluster as the labs use it: the one of kubectl's current context.

  YES=1     says beforehand that the cluster may be another than one of this machine
  REGISTRY  where images go that the cluster is to pull, such as registry.example/lab
  LOAD      a command that brings images there: their names are appended. Without
            either the context says how: kind, minikube, k3d, k3s, or one that has
            Docker's own images
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from shared import NAME, Fault, Load, answer, docker, locust, popen, run_long

# By the names that their makers give to contexts.
LOCAL = ("kind-", "k3d-", "docker-desktop", "rancher-desktop", "orbstack", "colima", "minikube")
# Those whose containers are made from the images that Docker has.
WITH_DOCKERS_IMAGES = ("docker-desktop", "rancher-desktop", "orbstack", "colima")
# Waiting for these won't help.
HOPELESS = (
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError",
)
# Also a namespace with the restricted Pod Security takes it.
RESTRICTED = {
    "runAsNonRoot": True, "runAsUser": 65534, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Asks until it is answered, for 20 s; prints nothing but what is wrong.
PROBE = """
import http.client, sys, time
target, host, path = sys.argv[1:]
until = time.monotonic() + 20
while True:
    try:
        connection = http.client.HTTPConnection(target, timeout=5)
        connection.request("GET", path, headers={"Host": host} if host else {})
        status = connection.getresponse().status
        said = "" if 200 <= status < 400 else f"it answers {status}"
    except (OSError, http.client.HTTPException) as error:
        said = str(error) or repr(error)
    if not said or time.monotonic() > until:
        sys.exit(said or 0)
    time.sleep(0.2)
"""


def kubectl(*arguments, **options):
    return answer("kubectl", *arguments, **options)


def ask_for(*arguments):
    return json.loads(kubectl("get", *arguments, "--output", "json"))


class Cluster:
    """The one of the current context, if it answers and we may touch it."""

    def __init__(self):
        if not shutil.which("kubectl"):
            raise Fault("needs kubectl: there is no kubectl command")
        view = json.loads(kubectl("config", "view", "--minify", "--output", "json", check=False) or "{}")
        if not view.get("contexts"):
            raise Fault("kubectl has no current context: see kubectl config get-contexts")
        self.context = view["contexts"][0]["name"]
        context = view["contexts"][0]["context"]
        self.namespace = context.get("namespace", "default")
        self.is_minikube = "minikube.sigs.k8s.io" in json.dumps(context.get("extensions") or "")
        self.server = view["clusters"][0]["cluster"]["server"]
        try:
            self.version = json.loads(kubectl("get", "--raw", "/version", "--request-timeout=10s"))["gitVersion"]
        except Fault as fault:
            raise Fault(f"no cluster answers in the context {self.context}: {fault}") from None
        # Who may not see the nodes doesn't need them.
        nodes = kubectl("get", "nodes", "--output", "json", check=False)
        self.nodes = json.loads(nodes)["items"] if nodes else []

    def is_local(self):
        """By a name that its maker gave, or because its nodes have addresses of this
        machine: 127.0.0.1 may lead through a tunnel."""
        addresses = [
            address["address"] for node in self.nodes for address in node["status"].get("addresses", [])
            if address["type"] == "InternalIP"
        ]
        by_address = bool(addresses) and all(is_of_this_machine(address) for address in addresses)
        return by_address or self.is_minikube or self.context.startswith(LOCAL)

    def ask_first(self):
        if os.environ.get("YES") == "1" or self.is_local():
            return
        what = f"the context {self.context} ({self.server}) isn't of this machine"
        if not sys.stdin.isatty():
            raise Fault(f"{what}: YES=1 says that it may be used")
        if input(f"lab: {what}. Use it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Fault("nothing was touched")

    def needs(self, namespace, *what):
        """Each a verb and a resource."""
        for verb, resource in what:
            options = ["--namespace", namespace] if namespace else []
            if kubectl("auth", "can-i", verb, resource, *options, check=False) is None:
                where = f" in the namespace {namespace}" if namespace else ""
                raise Fault(f"the context {self.context} has no permission to {verb} {resource}{where}")

    def nodes_in_words(self):
        runtimes = sorted({node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in self.nodes})
        many = f"{len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''}"
        return f"Kubernetes {self.version}, {many} ({', '.join(runtimes)})" if runtimes else f"Kubernetes {self.version}"

    def bring(self, images):
        """Brings Docker's images there; returns the name of each in the cluster."""
        try:
            if registry := os.environ.get("REGISTRY"):
                return {image: push(image, registry) for image in images}
            if command := self.loader():
                run_long(*command, *images)
        except (Fault, FileNotFoundError) as why:
            raise Fault(f"the images can't be brought to the cluster: {why}") from None
        return {image: image for image in images}

    def loader(self):
        """A command to which image names are appended; none where nothing is to be done."""
        if command := os.environ.get("LOAD"):
            return shlex.split(command)
        if self.context.startswith("kind-"):
            return ["kind", "load", "docker-image", "--name", self.context.removeprefix("kind-")]
        if self.context.startswith("k3d-"):
            return ["k3d", "image", "import", "--cluster", self.context.removeprefix("k3d-")]
        if self.is_minikube or self.context == "minikube":
            return ["minikube", "image", "load", "--profile", self.context]
        if self.context.startswith(WITH_DOCKERS_IMAGES):
            return None
        if self.is_local() and "+k3s" in self.version and shutil.which("k3s"):
            return ["sh", "-c", 'docker save "$@" | k3s ctr images import -', "sh"]
        raise Fault("REGISTRY=HOST/PATH names a registry, LOAD=COMMAND a command to which their names are appended")


def is_of_this_machine(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


def push(image, registry):
    """Under a name that changes with the image: a node may keep an old one."""
    name, _, tag = image.partition(":")
    content = docker("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")[:12]
    there = f"{registry}/{name}:{tag or 'latest'}-{content}"
    docker("tag", image, there)
    try:
        run_long("docker", "push", there)
    finally:
        docker("rmi", there, check=False)
    return there


def apply(namespace, *objects):
    kubectl("apply", "--namespace", namespace, "--filename", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def new_name(of):
    return f"{NAME}-{of}{secrets.token_hex(3)}"


def create_namespace(name, labels=()):
    """With the label that all of the labs' have, from its first moment on."""
    metadata = {"name": name, "labels": {NAME: "", **dict(labels)}}
    kubectl("create", "--filename", "-", given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))


def remove_namespace(name, wait=True):
    kubectl("delete", "namespace", name, "--ignore-not-found", f"--wait={str(wait).lower()}", check=False, patience=180)


class Pods:
    """What becomes of the pods of a selector, by a watch; and their logs, in files of
    a directory, to the last line. The main thread has to tend() it: a signal must
    find each child that was started."""

    def __init__(self, namespace, selector, logs):
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods?watch=1&labelSelector={urllib.parse.quote(selector)}"
        self.logs = logs
        # By name: the object, and when it was first seen to be deleted, and over.
        self.pods = {}
        self.followed = set()
        self.child = None
        self.tend()

    def tend(self):
        # The API server ends a watch after some time.
        if self.child is None or self.child.poll() is not None:
            self.child = popen("kubectl", "get", "--raw", self.path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            threading.Thread(target=self.read, args=[self.child.stdout], daemon=True).start()
        # Until the last line of the last container.
        for name, pod in list(self.pods.items()):
            if name not in self.followed and is_started(pod["object"]):
                self.followed.add(name)
                with open(self.log(name), "w", encoding="utf-8") as log:
                    popen(
                        "kubectl", "logs", "--namespace", self.namespace, "--follow", "--timestamps",
                        "--all-containers", name, stdout=log, stderr=subprocess.DEVNULL,
                    )

    def end(self):
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def log(self, name):
        return self.logs / f"{name}.log"

    def read(self, events):
        for line in events:
            try:
                event = json.loads(line)
            except ValueError:
                # Its end, amid a line.
                return
            seen, pod = time.time(), event["object"]
            if pod["kind"] != "Pod":
                continue
            known = self.pods.setdefault(pod["metadata"]["name"], {"asked": None, "over": None})
            known["object"] = pod
            if known["asked"] is None and "deletionTimestamp" in pod["metadata"]:
                known["asked"] = seen
            if known["over"] is None and (event["type"] == "DELETED" or known["asked"] and has_ended(pod)):
                known["over"] = seen

    def stopped(self):
        """Names of those that were asked to stop, in that order."""
        asked = [(pod["asked"], name) for name, pod in self.pods.items() if pod["asked"]]
        return [name for _, name in sorted(asked)]

    def times(self, name):
        """When that one was asked to stop, and when it was over."""
        return self.pods[name]["asked"], self.pods[name]["over"]

    def are_stopping(self):
        return any(pod["asked"] and not pod["over"] for pod in self.pods.values())

    def trouble(self):
        """Why the newest of them doesn't run, in its own words."""
        pods = [pod["object"] for pod in self.pods.values() if not pod["asked"]]
        pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        for pod in reversed(pods):
            if why := trouble_of(pod):
                return f"pod {pod['metadata']['name']}: {why}"
        return None

    def is_hopeless(self):
        return any(is_hopeless(pod["object"]) for pod in list(self.pods.values()) if not pod["asked"])


def states(pod):
    """Of each container: its name, its state, and its status as a whole."""
    status = pod.get("status", {})
    for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        yield one["name"], one.get("state", {}), one


def is_started(pod):
    """All of its containers have been."""
    found = [state for _, state, _ in states(pod)]
    return bool(pod.get("status", {}).get("containerStatuses")) and all("waiting" not in state for state in found)


def has_ended(pod):
    found = [state for _, state, _ in states(pod)]
    return bool(found) and all("terminated" in state for state in found)


def is_hopeless(pod):
    return any(state.get("waiting", {}).get("reason") in HOPELESS for _, state, _ in states(pod))


def is_ready(pod):
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions", []))


def trouble_of(pod):
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition['reason']}: {condition.get('message', '')}"
    for name, state, status in states(pod):
        ended = state.get("terminated") or status.get("lastState", {}).get("terminated")
        waiting = state.get("waiting", {})
        if ended and ended["exitCode"]:
            said = ended.get("message") or ended.get("reason", "")
            return f"{name} ended with {ended['exitCode']}: {said.strip()}"
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            return f"{name}: {waiting.get('reason')}: {waiting.get('message', '')}"
    for name, state, status in states(pod):
        if "running" in state and not status.get("ready"):
            return f"{name} runs, but isn't ready"
    return None


def wait_for_rollout(namespace, deployment, pods):
    """Until all of its pods are new and available. How long is the Deployment's own
    progressDeadlineSeconds."""
    child = popen(
        "kubectl", "rollout", "status", "--namespace", namespace, f"deployment/{deployment}",
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    while child.poll() is None and not pods.is_hopeless():
        pods.tend()
        time.sleep(0.05)
    if child.poll() == 0:
        return
    why = pods.trouble()
    for condition in ask_for("deployment", deployment, "--namespace", namespace)["status"].get("conditions", []):
        if condition["type"] == "ReplicaFailure":
            why = condition["message"]
    if not why and child.poll() is not None:
        why = child.stderr.read().strip()
    raise Fault(f"the rollout of {deployment} doesn't end: {' '.join((why or 'nobody says why').split())}")


class LoadPod:
    """A pod for Locust, which sends to one target."""

    def __init__(self, namespace, image, target, host=None):
        self.namespace = namespace
        self.target = target
        self.host = host
        self.name = new_name("load-")
        self.image = image

    def start(self):
        container = {
            "name": "load", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
            "securityContext": RESTRICTED,
        }
        spec = {
            "containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        }
        metadata = {"name": self.name, "labels": {NAME: "load"}}
        apply(self.namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        # It may have to be pulled.
        until = time.monotonic() + 180
        while not is_ready(pod := ask_for("pod", self.name, "--namespace", self.namespace)):
            if is_hopeless(pod) or time.monotonic() > until:
                raise Fault(f"the pod for Locust doesn't start: {trouble_of(pod) or 'nobody says why'}")
            time.sleep(0.2)

    def remove(self):
        kubectl("delete", "pod", self.name, "--namespace", self.namespace, "--ignore-not-found", check=False)

    def command(self, *words):
        return ["kubectl", "exec", "--namespace", self.namespace, "--stdin", self.name, "--", *words]

    def needs_an_answer(self, path):
        child = popen(
            *self.command("python3", "-c", PROBE, self.target, self.host or "", path),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        said = child.communicate()[1].split("\n")[0]
        if child.returncode:
            raise Fault(f"http://{self.target}{path} isn't there: {said}")

    def send(self, rate, urls, errors):
        """Requests for the lab's own pages, or for those."""
        pages = json.dumps([[self.host, url] for url in urls])
        environment, command = locust(rate, LAB=self.target, LAB_HOST=self.host or "", PAGES=pages)
        return Load(self.command("env", *environment, *command), errors)
