"""What AWS's clients see of the listener.

clients.py SCENARIO ENDPOINT runs one scenario, prints a line for each thing that was seen, and `done` at its end. Anything that is not
as it should be is an exception, and ends it before.
"""

import datetime
import json
import os
import subprocess
import sys
import threading
import unittest.mock
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions

CONFIG = botocore.config.Config(retries={"max_attempts": 1}, connect_timeout=3, read_timeout=70)


def client(service, endpoint, **more):
    """A client with the credentials of the environment, but for what is said otherwise."""
    if "aws_secret_access_key" not in more or "aws_access_key_id" not in more:
        # botocore takes a whole pair, or none.
        more.setdefault("aws_access_key_id", os.environ["AWS_ACCESS_KEY_ID"])
        more.setdefault("aws_secret_access_key", os.environ["AWS_SECRET_ACCESS_KEY"])
    return boto3.client(service, endpoint_url=endpoint, config=CONFIG, **more)


def seen(words):
    print("ok", words, flush=True)


def refused(code, call, **arguments):
    """Makes a call that must be refused with `code`, as the exception that users catch."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} and not {code}: {error}"
        seen(f"{code}: {error.response['Error'].get('Message', '')}")
        return error
    raise AssertionError(f"no {code}")


DURATIONS = {
    "defaultTaskStartToCloseTimeout": "60",
    "defaultExecutionStartToCloseTimeout": "600",
    "defaultChildPolicy": "TERMINATE",
    "defaultTaskList": {"name": "orders"},
}
ACTIVITY = {
    "defaultTaskStartToCloseTimeout": "60",
    "defaultTaskScheduleToStartTimeout": "60",
    "defaultTaskScheduleToCloseTimeout": "60",
    "defaultTaskHeartbeatTimeout": "60",
    "defaultTaskList": {"name": "orders"},
}
WORKFLOW = {"name": "order", "version": "1"}
ACTIVITY_TYPE = {"name": "charge", "version": "1"}


def register(swf, domain):
    swf.register_domain(name=domain, workflowExecutionRetentionPeriodInDays="1")
    swf.register_workflow_type(domain=domain, **WORKFLOW, **DURATIONS)
    swf.register_activity_type(domain=domain, **ACTIVITY_TYPE, **ACTIVITY)


def decide(swf, domain, decisions):
    task = swf.poll_for_decision_task(domain=domain, taskList={"name": "orders"}, identity="decider")
    assert task.get("taskToken"), task
    swf.respond_decision_task_completed(taskToken=task["taskToken"], decisions=decisions)


SCHEDULE = {
    "decisionType": "ScheduleActivityTask",
    "scheduleActivityTaskDecisionAttributes": {
        "activityType": ACTIVITY_TYPE,
        "activityId": "charge-1",
        "taskList": {"name": "orders"},
    },
}
COMPLETE = {
    "decisionType": "CompleteWorkflowExecution",
    "completeWorkflowExecutionDecisionAttributes": {"result": "charged"},
}


def run_workflow(swf, domain):
    """From start to completion, by a decider and a worker."""
    run = swf.start_workflow_execution(domain=domain, workflowId="order-1", workflowType=WORKFLOW, tagList=["retail"])
    decide(swf, domain, [SCHEDULE])
    task = swf.poll_for_activity_task(domain=domain, taskList={"name": "orders"}, identity="worker")
    assert task.get("taskToken"), task
    assert swf.record_activity_task_heartbeat(taskToken=task["taskToken"])["cancelRequested"] is False
    swf.respond_activity_task_completed(taskToken=task["taskToken"], result="charged")
    decide(swf, domain, [COMPLETE])
    execution = {"workflowId": "order-1", "runId": run["runId"]}
    info = swf.describe_workflow_execution(domain=domain, execution=execution)["executionInfo"]
    assert info["closeStatus"] == "COMPLETED", info
    history = swf.get_workflow_execution_history(domain=domain, execution=execution)["events"]
    seen(f"a workflow run to completion, in {len(history)} events")


def workflow(endpoint):
    swf = client("swf", endpoint)
    register(swf, "payments")
    run_workflow(swf, "payments")


def session(endpoint):
    """The same with temporary credentials."""
    sts = client("sts", endpoint)
    identity = sts.get_caller_identity()
    assert identity["Arn"].endswith(":user/alice"), identity
    seen(identity["Arn"])
    token = sts.get_session_token(DurationSeconds=900)["Credentials"]
    swf = client("swf", endpoint, **credentials(token))
    names = [domain["name"] for domain in swf.list_domains(registrationStatus="REGISTERED")["domainInfos"]]
    seen(f"domains by a session of a user: {names}")
    role = "arn:aws:iam::111122223333:role/worker"
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="test", Tags=[{"Key": "team", "Value": "orders"}])
    swf = client("swf", endpoint, **credentials(assumed["Credentials"]))
    me = client("sts", endpoint, **credentials(assumed["Credentials"])).get_caller_identity()
    assert me["Arn"] == "arn:aws:sts::111122223333:assumed-role/worker/test", me
    register(swf, "sessions")
    run_workflow(swf, "sessions")
    policy = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "swf:Describe*", "Resource": "*"},
    }
    narrow = sts.assume_role(RoleArn=role, RoleSessionName="narrow", Policy=json.dumps(policy))
    swf = client("swf", endpoint, **credentials(narrow["Credentials"]))
    swf.describe_domain(name="sessions")
    refused("AccessDeniedException", swf.list_domains, registrationStatus="REGISTERED")
    refused("AccessDenied", sts.assume_role, RoleArn=role.replace("worker", "nobody"), RoleSessionName="test")


def credentials(given):
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def wrong(endpoint):
    """Requests that are signed wrongly: each answers as AWS would."""
    listing = {"registrationStatus": "REGISTERED"}
    client("swf", endpoint).list_domains(**listing)
    secret = client("swf", endpoint, aws_secret_access_key="wrong" * 8)
    refused("InvalidSignatureException", secret.list_domains, **listing)
    unknown = client("swf", endpoint, aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    refused("UnrecognizedClientException", unknown.list_domains, **listing)
    region = client("swf", endpoint, region_name="eu-west-1")
    refused("InvalidSignatureException", region.list_domains, **listing)
    token = client("swf", endpoint, aws_session_token="no token of ours")
    refused("UnrecognizedClientException", token.list_domains, **listing)
    for minutes in (16, -16):
        answer = raw(endpoint, offset=datetime.timedelta(minutes=minutes))
        assert answer == (400, "InvalidSignatureException"), answer
        seen(f"a clock that is {minutes} minutes off: {answer[1]}")
    assert raw(endpoint, offset=datetime.timedelta(minutes=14)) == (200, None)
    for change, code in (
        ({"service": "dynamodb"}, "InvalidSignatureException"),
        ({"alter": "body"}, "InvalidSignatureException"),
        ({"alter": "header"}, "InvalidSignatureException"),
        ({"alter": "unsigned"}, "InvalidSignatureException"),
        ({"alter": "target"}, "UnknownOperationException"),
        ({"alter": "json"}, "SerializationException"),
        ({"alter": "missing"}, "MissingAuthenticationTokenException"),
    ):
        answer = raw(endpoint, **change)
        assert answer == (400, code), (change, answer)
        seen(f"{change}: {code}")


def raw(endpoint, offset=datetime.timedelta(), service="swf", alter=None):
    """A request made by hand: its status, and the exception in it."""
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "SimpleWorkflowService.ListDomains",
        "X-Amz-Meta-A": "1",
    }
    if alter == "target":
        headers["X-Amz-Target"] = "SimpleWorkflowService.Nothing"
    body = b'{"registrationStatus": "REGISTERED"}'
    if alter == "json":
        body = b"{"
    request = botocore.awsrequest.AWSRequest("POST", endpoint + "/", headers=headers, data=body)
    given = botocore.credentials.Credentials(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    )
    now = datetime.datetime.now(datetime.timezone.utc) + offset
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda **_: now):
        botocore.auth.SigV4Auth(given, service, "us-east-1").add_auth(request)
    headers = dict(request.headers.items())
    if alter == "body":
        body = body.replace(b"REGISTERED", b"DEPRECATED")
    elif alter == "header":
        headers["X-Amz-Meta-A"] = "2"
    elif alter == "unsigned":
        headers["X-Amz-Meta-B"] = "1"
    elif alter == "missing":
        del headers["Authorization"]
    sent = urllib.request.Request(endpoint + "/", data=body, headers=headers, method="POST")
    context = __import__("ssl").create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    try:
        with urllib.request.urlopen(sent, context=context, timeout=20) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["__type"].split("#")[1]


def denied(endpoint):
    """What documents do not allow, by an identity that may do other things."""
    swf = client("swf", endpoint)
    swf.list_domains(registrationStatus="REGISTERED")
    error = refused("AccessDeniedException", swf.deprecate_domain, name="payments")
    assert "arn:aws:iam::111122223333:user/bob is not authorized to perform: swf:DeprecateDomain" in str(error)
    refused("AccessDeniedException", swf.describe_domain, name="other")
    start = {"domain": "payments", "workflowId": "a", "workflowType": WORKFLOW}
    refused("AccessDeniedException", swf.start_workflow_execution, **start, tagList=["wholesale"])
    refused("AccessDeniedException", swf.start_workflow_execution, **start)
    refused("AccessDeniedException", swf.respond_activity_task_completed, taskToken="never given out")


def command_line(endpoint):
    """The AWS CLI."""
    aws = os.path.join(os.path.dirname(sys.executable), "aws")

    def run(*arguments):
        command = [sys.executable, aws, *arguments, "--endpoint-url", endpoint, "--ca-bundle", os.environ["AWS_CA_BUNDLE"]]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    listed = run("swf", "list-domains", "--registration-status", "REGISTERED", "--output", "json")
    assert listed.returncode == 0, listed
    seen(f"list-domains: {[one['name'] for one in json.loads(listed.stdout)['domainInfos']]}")
    me = run("sts", "get-caller-identity", "--output", "json")
    assert me.returncode == 0, me
    seen(json.loads(me.stdout)["Arn"])
    described = run("swf", "describe-domain", "--name", "nowhere")
    assert described.returncode != 0 and "UnknownResourceFault" in described.stderr, described
    seen("a fault of SWF itself comes through")


def operations(endpoint):
    """Every operation that moto has."""
    swf = client("swf", endpoint)
    register(swf, "all")
    swf.list_domains(registrationStatus="REGISTERED")
    swf.describe_domain(name="all")
    swf.list_workflow_types(domain="all", registrationStatus="REGISTERED")
    swf.describe_workflow_type(domain="all", workflowType=WORKFLOW)
    swf.list_activity_types(domain="all", registrationStatus="REGISTERED")
    swf.describe_activity_type(domain="all", activityType=ACTIVITY_TYPE)
    run = swf.start_workflow_execution(domain="all", workflowId="w", workflowType=WORKFLOW)
    swf.signal_workflow_execution(domain="all", workflowId="w", signalName="s", input="i")
    since = {"oldestDate": datetime.datetime(2020, 1, 1)}
    swf.list_open_workflow_executions(domain="all", startTimeFilter=since)
    swf.list_closed_workflow_executions(domain="all", startTimeFilter=since)
    tasks = {"domain": "all", "taskList": {"name": "orders"}}
    assert swf.count_pending_decision_tasks(**tasks)["count"] >= 1
    decide(swf, "all", [SCHEDULE])
    assert swf.count_pending_activity_tasks(**tasks)["count"] == 1
    task = swf.poll_for_activity_task(**tasks)
    swf.respond_activity_task_failed(taskToken=task["taskToken"], reason="no", details="none")
    swf.get_workflow_execution_history(domain="all", execution={"workflowId": "w", "runId": run["runId"]})
    swf.terminate_workflow_execution(domain="all", workflowId="w")
    swf.deprecate_activity_type(domain="all", activityType=ACTIVITY_TYPE)
    swf.undeprecate_activity_type(domain="all", activityType=ACTIVITY_TYPE)
    swf.deprecate_workflow_type(domain="all", workflowType=WORKFLOW)
    swf.undeprecate_workflow_type(domain="all", workflowType=WORKFLOW)
    arn = "arn:aws:swf:us-east-1:111122223333:/domain/all"
    swf.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    swf.list_tags_for_resource(resourceArn=arn)
    swf.untag_resource(resourceArn=arn, tagKeys=["a"])
    swf.deprecate_domain(name="all")
    swf.undeprecate_domain(name="all")
    seen("every operation")


def looks(endpoint):
    """A network from which one may look, and no more."""
    swf = client("swf", endpoint)
    swf.list_domains(registrationStatus="REGISTERED")
    refused("AccessDeniedException", swf.deprecate_domain, name="payments")


def known(endpoint):
    """Whether the listener knows the key."""
    client("sts", endpoint).get_caller_identity()


def poll(endpoint):
    """A poll that is held until there is a task, or a minute is over."""
    swf = client("swf", endpoint)
    swf.poll_for_decision_task(domain="payments", taskList={"name": "nothing"})
    seen("a poll")


if __name__ == "__main__":
    scenarios = {
        "cli": command_line,
        "denied": denied,
        "known": known,
        "looks": looks,
        "operations": operations,
        "poll": poll,
        "session": session,
        "workflow": workflow,
        "wrong": wrong,
    }
    threading.current_thread().name = sys.argv[1]
    scenarios[sys.argv[1]](sys.argv[2])
    print("done")
