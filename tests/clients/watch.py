"""CloudWatch, SNS and event subscriptions of the local stack, driven by boto3 as it comes.

Arguments: endpoint, and the name of an available instance. botocore checks the shape of every answer; the rest is asserted here.
"""

import datetime
import http.server
import json
import sys
import threading
import time
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, INSTANCE = sys.argv[1:3]
REGION = "eu-central-1"
session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


def client(name):
    return session.client(name, endpoint_url=ENDPOINT, config=Config(retries={"total_max_attempts": 1}))


cloudwatch, sns, rds = client("cloudwatch"), client("sns"), client("rds")


def control(method, path, body=None):
    request = urllib.request.Request(f"{ENDPOINT}/_control/{path}", method=method)
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data) as answer:
        return json.load(answer)


def now():
    return datetime.datetime.fromisoformat(control("GET", "clock")["now"].replace("Z", "+00:00"))


def until(what, look):
    deadline = time.time() + 180
    while True:
        found = look()
        if found:
            return found
        assert time.time() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{call.__name__} {arguments} was accepted, wanted {code}")


def alarm(name):
    return cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def until_state(name, state):
    until(f"{name} to be {state}", lambda: alarm(name)["StateValue"] == state)


# Topics, and who hears them: a queue, a mailbox, a web server on this machine that confirms what it is asked to.
topic = sns.create_topic(Name="ops", Tags=[{"Key": "team", "Value": "a"}])["TopicArn"]
assert topic == f"arn:aws:sns:{REGION}:123456789012:ops" == sns.create_topic(Name="ops")["TopicArn"]
received = []


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = self.headers["x-amz-sns-message-type"]
        assert kind == body["Type"], body
        if kind == "SubscriptionConfirmation":
            urllib.request.urlopen(body["SubscribeURL"]).read()
        else:
            received.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=listener.serve_forever, daemon=True).start()
web = f"http://127.0.0.1:{listener.server_port}/hook"
sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=web)
sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:pager")
assert sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.com")["SubscriptionArn"] == "pending confirmation"


def attributes():
    return sns.get_topic_attributes(TopicArn=topic)["Attributes"]


until("the web server to confirm", lambda: attributes()["SubscriptionsConfirmed"] == "2")
assert attributes()["SubscriptionsPending"] == "1"
listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
assert sorted((one["Protocol"], one["SubscriptionArn"] == "PendingConfirmation") for one in listed) == [
    ("email", True), ("http", False), ("sqs", False)]
control("POST", "confirmations", {"endpoint": "ops@example.com"})
assert attributes()["SubscriptionsPending"] == "0"
sns.publish(TopicArn=topic, Subject="hello", Message="world")
until("the message", lambda: any(one["Message"] == "world" and one["Subject"] == "hello" for one in received))
refused("NotFound", sns.publish, TopicArn=topic + "-x", Message="m")
refused("InvalidParameter", sns.create_topic, Name="not a name")
refused("InvalidParameter", sns.get_topic_attributes, TopicArn=topic.replace(REGION, "us-west-2"))
assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "team", "Value": "a"}]

# Metrics in and out, with all dimensions or not at all.
dimensions = [{"Name": "DBInstanceIdentifier", "Value": "x"}]
cloudwatch.put_metric_data(Namespace="Lifeboat", MetricData=[
    {"MetricName": "Age", "Dimensions": dimensions, "Value": 10.0, "Unit": "Seconds"},
    {"MetricName": "Age", "Dimensions": dimensions, "Values": [20.0, 30.0], "Counts": [1.0, 2.0], "Unit": "Seconds"},
])
span = {"StartTime": now() - datetime.timedelta(minutes=5), "EndTime": now() + datetime.timedelta(minutes=5)}
question = {"Namespace": "Lifeboat", "MetricName": "Age", "Dimensions": dimensions, "Period": 600} | span
points = cloudwatch.get_metric_statistics(**question, Statistics=["Sum", "Maximum", "SampleCount"])["Datapoints"]
assert sum(point["Sum"] for point in points) == 90.0 and points[0]["Unit"] == "Seconds", points
assert not cloudwatch.get_metric_statistics(**(question | {"Dimensions": []}), Statistics=["Sum"])["Datapoints"]
stat = {"Metric": {"Namespace": "Lifeboat", "MetricName": "Age", "Dimensions": dimensions}, "Period": 60, "Stat": "Minimum"}
data = cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "m", "MetricStat": stat}], **span)["MetricDataResults"][0]
assert data["Values"] == [10.0] and isinstance(data["Timestamps"][0], datetime.datetime), data
assert [m["MetricName"] for m in cloudwatch.list_metrics(Namespace="Lifeboat")["Metrics"]] == ["Age"]
refused("InvalidParameterValue", cloudwatch.put_metric_data, Namespace="AWS/RDS", MetricData=[{"MetricName": "A", "Value": 1.0}])
until("the instance's own metrics", lambda: any(
    metric["MetricName"] == "FreeStorageSpace" and metric["Dimensions"][0]["Value"] == INSTANCE
    for page in cloudwatch.get_paginator("list_metrics").paginate(Namespace="AWS/RDS") for metric in page["Metrics"]))

# Alarms: what is refused, what stays, what is overwritten.
spec = {
    "Namespace": "Lifeboat", "MetricName": "Age", "Dimensions": dimensions, "Statistic": "Maximum", "Period": 900,
    "EvaluationPeriods": 4, "Threshold": 93600.0, "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "breaching", "AlarmActions": [topic], "OKActions": [topic],
}
for wrong in (
    {"Period": 61}, {"Period": 3540, "EvaluationPeriods": 25}, {"Period": 86400, "EvaluationPeriods": 8},
    {"AlarmActions": [topic + str(n) for n in range(6)]}, {"AlarmActions": ["ops"]}, {"DatapointsToAlarm": 5},
    {"TreatMissingData": "bad"},
):
    refused("ValidationError", cloudwatch.put_metric_alarm, AlarmName="wrong", **(spec | wrong))
cloudwatch.put_metric_alarm(AlarmName="age", Tags=[{"Key": "a", "Value": "1"}], **spec)
arn = alarm("age")["AlarmArn"]
cloudwatch.put_metric_alarm(AlarmName="age", Tags=[{"Key": "a", "Value": "2"}], **spec)
assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}])
assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "2"}]
until_state("age", "OK")
metric_alarms = cloudwatch.describe_alarms_for_metric(Namespace="Lifeboat", MetricName="Age", Dimensions=dimensions)
assert [one["AlarmName"] for one in metric_alarms["MetricAlarms"]] == ["age"]

# 27 hours without a word: the alarm goes off, and everyone hears of it.
control("POST", "clock", {"advance_seconds": 27 * 3600})
until_state("age", "ALARM")
assert "no datapoints were received" in alarm("age")["StateReason"]
notice = until("the notice", lambda: [json.loads(one["Message"]) for one in received if "ALARM:" in (one.get("Subject") or "")])
assert notice[0]["AlarmName"] == "age" and notice[0]["OldStateValue"] == "OK", notice
queue = [json.loads(json.loads(one["body"])["Message"]) for one in control("GET", "queues/pager") if "AlarmName" in one["body"]]
assert any(one["NewStateValue"] == "ALARM" for one in queue), queue
history = cloudwatch.describe_alarm_history(AlarmName="age", HistoryItemType="Action")["AlarmHistoryItems"]
assert any(item["HistorySummary"] == f"Successfully executed action {topic}" for item in history), history
cloudwatch.put_metric_data(Namespace="Lifeboat", MetricData=[{"MetricName": "Age", "Dimensions": dimensions, "Value": 5.0, "Unit": "Seconds"}])
# One point in four does not breach, which is no longer four of four.
until_state("age", "OK")

# A topic that shuts CloudWatch out: the history says so.
sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps({
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "events.rds.amazonaws.com"}, "Action": "sns:Publish", "Resource": topic}]}))
cloudwatch.set_alarm_state(AlarmName="age", StateValue="OK", StateReason="try")
cloudwatch.set_alarm_state(AlarmName="age", StateValue="ALARM", StateReason="try")
history = cloudwatch.describe_alarm_history(AlarmName="age", HistoryItemType="Action")["AlarmHistoryItems"]
assert "not authorized to perform: SNS:Publish" in history[0]["HistorySummary"], history[0]
refused("ResourceNotFound", cloudwatch.set_alarm_state, AlarmName="nobody", StateValue="OK", StateReason="try")

# Events of RDS, by category and source.
categories = {one["SourceType"]: one["EventCategories"] for one in rds.describe_event_categories()["EventCategoriesMapList"]}
assert "backup" in categories["db-instance"] and "backup" not in categories["db-snapshot"]
refused("SubscriptionCategoryNotFound", rds.create_event_subscription, SubscriptionName="s", SnsTopicArn=topic,
        SourceType="db-snapshot", EventCategories=["backup"])
refused("SNSTopicArnNotFound", rds.create_event_subscription, SubscriptionName="s", SnsTopicArn=topic + "-none")
rds.create_event_subscription(SubscriptionName="S", SnsTopicArn=topic, SourceType="db-instance", SourceIds=[INSTANCE],
                              EventCategories=["configuration change", "backup"], Tags=[{"Key": "k", "Value": "v"}])
one = rds.describe_event_subscriptions(SubscriptionName="s")["EventSubscriptionsList"][0]
assert one["Status"] == "active" and one["SourceIdsList"] == [INSTANCE], one
assert rds.list_tags_for_resource(ResourceName=one["EventSubscriptionArn"])["TagList"] == [{"Key": "k", "Value": "v"}]
# The jump of the clock asked for a backup, which may be under way.
rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=INSTANCE, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
rds.modify_db_instance(DBInstanceIdentifier=INSTANCE, BackupRetentionPeriod=0, ApplyImmediately=True)
event = until("the event", lambda: [
    json.loads(message["Message"]) for message in received if "RDS-EVENT-0028" in message["Message"]])[0]
assert event["Source ID"] == INSTANCE and "disabled" in event["Event Message"], event
sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue='{"Statement": []}')
assert rds.describe_event_subscriptions()["EventSubscriptionsList"][0]["Status"] == "no-permission"
sns.delete_topic(TopicArn=topic)
assert rds.describe_event_subscriptions()["EventSubscriptionsList"][0]["Status"] == "topic-not-exist"
rds.delete_event_subscription(SubscriptionName="s")

# Pages of 100, composites apart, and the end.
for number in range(101):
    cloudwatch.put_metric_alarm(AlarmName=f"many-{number:03}", **(spec | {"AlarmActions": [], "OKActions": []}))
pages = list(cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix="many-"))
assert [len(page["MetricAlarms"]) for page in pages] == [100, 1]
cloudwatch.put_composite_alarm(AlarmName="any", AlarmRule='OK("many-000") AND NOT ALARM(many-001)')
assert [one["AlarmName"] for one in cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]] == ["any"]
assert not any(one["AlarmName"] == "any" for one in cloudwatch.describe_alarms(AlarmNamePrefix="any")["MetricAlarms"])
until("the composite", lambda: cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"][0]["StateValue"] == "ALARM")
refused("ValidationError", cloudwatch.delete_alarms, AlarmNames=["many-000"])
cloudwatch.delete_alarms(AlarmNames=["any"])
cloudwatch.delete_alarms(AlarmNames=[f"many-{number:03}" for number in range(100)])
cloudwatch.delete_alarms(AlarmNames=["many-100"])
assert not cloudwatch.describe_alarms(AlarmNamePrefix="many-")["MetricAlarms"]
print("watched and heard")
