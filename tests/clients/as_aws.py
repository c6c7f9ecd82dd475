"""What AWS refuses, shows and does, asked of the local stack by boto3 as it comes, one section at a time.

Arguments: endpoint, section. botocore checks the shape of every answer; the rest is asserted here.
"""

import base64
import datetime
import gzip
import json
import sys
import time
import urllib.parse
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, SECTION = sys.argv[1:3]
REGION, AWAY, OTHER = "eu-central-1", "eu-west-1", "444455556666"
PASSWORD = "correct-horse-battery"
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


def client(name, region=REGION, account="test", **config):
    session = boto3.Session(aws_access_key_id=account, aws_secret_access_key="test", region_name=region)
    return session.client(name, endpoint_url=ENDPOINT, config=Config(retries={"total_max_attempts": 1}, **config))


rds = client("rds")


def control(method, path, body=None):
    request = urllib.request.Request(f"{ENDPOINT}/_control/{path}", method=method)
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data) as answer:
        return json.load(answer)


def now():
    return datetime.datetime.fromisoformat(control("GET", "clock")["now"].replace("Z", "+00:00"))


def advance(**span):
    control("POST", "clock", {"advance_seconds": int(datetime.timedelta(**span).total_seconds())})


def until(what, look):
    deadline = time.time() + 240
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
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} {arguments} was accepted, wanted {code}")


def create(name, of=rds, engine="postgres", **more):
    settings = dict(
        DBInstanceIdentifier=name, Engine=engine, DBInstanceClass="db.m6g.large", AllocatedStorage=20,
        MasterUsername="owner", MasterUserPassword=PASSWORD,
    )
    of.create_db_instance(**(settings | more))
    return available(name, of)


def instance(name, of=rds):
    return of.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def reaches(name, status, of=rds):
    return until(f"{name} to be {status}", lambda: instance(name, of)["DBInstanceStatus"] == status and instance(name, of))


def available(name, of=rds):
    return reaches(name, "available", of)


def gone(name, of=rds):
    until(f"the end of {name}", lambda: name not in [one["DBInstanceIdentifier"] for one in of.describe_db_instances()["DBInstances"]])


def snapshot(name, source, of=rds):
    of.create_db_snapshot(DBInstanceIdentifier=source, DBSnapshotIdentifier=name)
    return copied(name, of)


def copied(name, of=rds):
    def look():
        found = of.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]
        return found["Status"] == "available" and found
    return until(f"snapshot {name}", look)


def window(name, of=rds):
    rows = of.describe_db_instance_automated_backups(DBInstanceIdentifier=name)["DBInstanceAutomatedBackups"]
    return rows and rows[0].get("RestoreWindow", {})


def events(name, kind="db-instance"):
    found = rds.describe_events(SourceIdentifier=name, SourceType=kind, Duration=10000)["Events"]
    return [(event["EventCategories"][0], event["Message"]) for event in found]


def key(region, account="123456789012"):
    return f"arn:aws:kms:{region}:{account}:key/{KEY}"


def compressed_requests():
    cloudwatch = client("cloudwatch")
    data = [
        {"MetricName": f"metric-{number}", "Dimensions": [{"Name": "Database", "Value": f"db-{number}" * 4}], "Value": number}
        for number in range(400)
    ]
    cloudwatch.put_metric_data(Namespace="Big", MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Big")
    assert len([metric for page in pages for metric in page["Metrics"]]) == 400
    # The form that older clients send, the same way.
    form = urllib.parse.urlencode({
        "Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "Form",
        "MetricData.member.1.MetricName": "m", "MetricData.member.1.Value": "1",
    })
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20261121/{REGION}/monitoring/aws4_request",
        "Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded",
    }
    with urllib.request.urlopen(urllib.request.Request(ENDPOINT, gzip.compress(form.encode()), headers)) as answer:
        assert answer.status == 200
    assert cloudwatch.list_metrics(Namespace="Form")["Metrics"][0]["MetricName"] == "m"
    # Of RDS too, though no client does that today.
    form = urllib.parse.urlencode({"Action": "DescribeDBInstances", "Version": "2014-10-31"})
    headers["Authorization"] = headers["Authorization"].replace("monitoring", "rds")
    with urllib.request.urlopen(urllib.request.Request(ENDPOINT, gzip.compress(form.encode()), headers)) as answer:
        assert b"DescribeDBInstancesResult" in answer.read()


def shared_snapshots():
    theirs = client("rds", account=OTHER)
    create("orders", BackupRetentionPeriod=1, Tags=[{"Key": "team", "Value": "shop"}], CopyTagsToSnapshot=True)
    manual = snapshot("mine", "orders")
    automated = rds.describe_db_snapshots(SnapshotType="automated")["DBSnapshots"][0]
    # What nobody shared cannot be seen, copied or restored; an automated one never.
    for source in (manual["DBSnapshotArn"], automated["DBSnapshotArn"]):
        refused("DBSnapshotNotFound", theirs.copy_db_snapshot, SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier="loot")
        refused("DBSnapshotNotFound", theirs.restore_db_instance_from_db_snapshot, DBSnapshotIdentifier=source, DBInstanceIdentifier="loot")
        refused("DBSnapshotNotFound", theirs.describe_db_snapshots, DBSnapshotIdentifier=source)
    share = dict(AttributeName="restore", ValuesToAdd=[OTHER])
    refused("InvalidParameterValue", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier=automated["DBSnapshotIdentifier"], **share)
    refused("DBSnapshotNotFound", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="nothing", **share)
    refused("InvalidParameterValue", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="mine", AttributeName="restore", ValuesToAdd=["12"])
    refused("InvalidParameterCombination", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="mine", ValuesToRemove=[OTHER], **share)
    result = rds.describe_db_snapshot_attributes(DBSnapshotIdentifier="mine")["DBSnapshotAttributesResult"]
    assert result["DBSnapshotAttributes"] == [{"AttributeName": "restore", "AttributeValues": []}], result
    result = rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="mine", **share)["DBSnapshotAttributesResult"]
    assert result["DBSnapshotAttributes"][0]["AttributeValues"] == [OTHER]
    accounts = [f"{number:012}" for number in range(1, 21)]
    refused("SharedSnapshotQuotaExceeded", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="mine", AttributeName="restore", ValuesToAdd=accounts)
    # Shared: seen by its ARN, without its tags, when it is asked for.
    assert theirs.describe_db_snapshots()["DBSnapshots"] == []
    assert theirs.describe_db_snapshots(SnapshotType="public")["DBSnapshots"] == []
    for seen in (theirs.describe_db_snapshots(SnapshotType="shared"), theirs.describe_db_snapshots(IncludeShared=True), theirs.describe_db_snapshots(DBSnapshotIdentifier=manual["DBSnapshotArn"])):
        (one,) = seen["DBSnapshots"]
        assert (one["DBSnapshotIdentifier"], one["SnapshotType"], one["TagList"]) == (manual["DBSnapshotArn"], "shared", []), one
    assert client("rds", account="111122223333").describe_db_snapshots(IncludeShared=True)["DBSnapshots"] == []
    refused("DBSnapshotNotFound", theirs.delete_db_snapshot, DBSnapshotIdentifier=manual["DBSnapshotArn"])
    # Copied and restored, and theirs alone from then on.
    theirs.copy_db_snapshot(SourceDBSnapshotIdentifier=manual["DBSnapshotArn"], TargetDBSnapshotIdentifier="copy", CopyTags=True)
    assert copied("copy", theirs)["TagList"] == []
    theirs.restore_db_instance_from_db_snapshot(DBSnapshotIdentifier=manual["DBSnapshotArn"], DBInstanceIdentifier="risen")
    assert available("risen", theirs)["TagList"] == []
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="mine", AttributeName="restore", ValuesToRemove=[OTHER])
    refused("DBSnapshotNotFound", theirs.restore_db_instance_from_db_snapshot, DBSnapshotIdentifier=manual["DBSnapshotArn"], DBInstanceIdentifier="again")
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="mine", AttributeName="restore", ValuesToAdd=["all"])
    assert theirs.describe_db_snapshots(SnapshotType="public")["DBSnapshots"][0]["SnapshotType"] == "public"
    assert theirs.describe_db_snapshots(SnapshotType="shared")["DBSnapshots"] == []
    # Encrypted: never public, never under the default key, never restored without a copy, never copied without a key.
    for name, named in (("plain-key", None), ("own-key", KEY)):
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier="mine", TargetDBSnapshotIdentifier=name, KmsKeyId=named or "alias/aws/rds")
        copied(name)
    refused("InvalidDBSnapshotState", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="plain-key", **share)
    refused("InvalidParameterValue", rds.modify_db_snapshot_attribute, DBSnapshotIdentifier="own-key", AttributeName="restore", ValuesToAdd=["all"])
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="own-key", **share)
    source = copied("own-key")["DBSnapshotArn"]
    refused("InvalidDBSnapshotState", theirs.restore_db_instance_from_db_snapshot, DBSnapshotIdentifier=source, DBInstanceIdentifier="sealed")
    said = refused("KMSKeyNotAccessibleFault", theirs.copy_db_snapshot, SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier="sealed")
    assert "[None]" in said, said
    theirs.copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier="sealed", KmsKeyId=KEY)
    assert copied("sealed", theirs)["KmsKeyId"] == key(REGION, OTHER)
    # In one step to another account and Region.
    far = client("rds", region=AWAY, account=OTHER)
    began = far.copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier="far", KmsKeyId=KEY)
    assert began["DBSnapshot"]["Status"] == "pending", began
    copied("far", far)


def restorable_window():
    create("orders", BackupRetentionPeriod=1, PreferredBackupWindow="03:00-03:30", PreferredMaintenanceWindow="sun:12:00-sun:12:30")
    began = until("a window", lambda: window("orders").get("EarliestTime"))
    day = datetime.timedelta(days=1)
    for half in range(1, 8):
        backups = len(rds.describe_db_snapshots(SnapshotType="automated")["DBSnapshots"])
        advance(hours=12)
        if half % 2 == 0:
            until("the daily backup", lambda: len([e for e in events("orders") if e[1] == "Finished DB Instance backup"]) > half // 2)
        available("orders")
        found = until("a window that moved on", lambda: (lambda w: w["LatestTime"] > now() - datetime.timedelta(hours=1) and w)(window("orders")))
        reach = found["LatestTime"] - found["EarliestTime"]
        wanted = min(day, now() - began) - datetime.timedelta(minutes=5)
        assert reach >= wanted, (half, reach, wanted, backups)
        assert reach <= day + datetime.timedelta(minutes=5), (half, reach)
    # A moment of yesterday evening comes back, though a backup was taken since then.
    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="orders", TargetDBInstanceIdentifier="yesterday",
        RestoreTime=found["EarliestTime"] + datetime.timedelta(seconds=2),
    )
    available("yesterday")
    kept = [one["SnapshotCreateTime"] for one in rds.describe_db_snapshots(SnapshotType="automated", DBInstanceIdentifier="orders")["DBSnapshots"]]
    assert len([at for at in kept if at < now() - day]) == 1, kept


def stopped_instances():
    before = create("orders", BackupRetentionPeriod=2)
    rds.modify_db_instance(DBInstanceIdentifier="orders", DBInstanceClass="db.m6g.xlarge")
    assert instance("orders")["PendingModifiedValues"] == {"DBInstanceClass": "db.m6g.xlarge"}
    earliest = window("orders")["EarliestTime"]
    rds.stop_db_instance(DBInstanceIdentifier="orders")
    stopped = reaches("orders", "stopped")
    assert stopped["PendingModifiedValues"] == {} and stopped["DBInstanceClass"] == before["DBInstanceClass"]
    left = stopped["AutomaticRestartTime"] - now()
    assert datetime.timedelta(days=6, hours=23) < left <= datetime.timedelta(days=7), left
    advance(days=6)
    assert instance("orders")["DBInstanceStatus"] == "stopped"
    # The time for which it was stopped does not count against the retention.
    assert window("orders")["EarliestTime"] == earliest, window("orders")
    advance(days=1, hours=1)
    assert "AutomaticRestartTime" not in available("orders")
    assert ("notification", "DB instance is being started due to it exceeding the maximum allowed time being stopped.") in events("orders")


def keys_of_kms():
    fault = "KMSKeyNotAccessibleFault"
    settings = dict(
        Engine="postgres", DBInstanceClass="db.m6g.large", AllocatedStorage=20, MasterUsername="owner", MasterUserPassword=PASSWORD
    )
    for wrong in ("garbage key!", "nonsense", key(AWAY), "alias/aws/s3", "arn:aws:s3:::bucket"):
        refused(fault, rds.create_db_instance, DBInstanceIdentifier="no", StorageEncrypted=True, KmsKeyId=wrong, **settings)
    refused("InvalidParameterCombination", rds.create_db_instance, DBInstanceIdentifier="no", KmsKeyId=KEY, **settings)
    assert create("sealed", StorageEncrypted=True, KmsKeyId=KEY)["KmsKeyId"] == key(REGION)
    own = create("own-key", engine="mysql", StorageEncrypted=True)["KmsKeyId"]
    assert own.startswith(f"arn:aws:kms:{REGION}:123456789012:key/"), own
    assert create("alias", engine="mysql", StorageEncrypted=True, KmsKeyId="alias/aws/rds")["KmsKeyId"] == own
    taken = snapshot("sealed-1", "sealed")
    away = client("rds", region=AWAY)
    copy = dict(SourceDBSnapshotIdentifier=taken["DBSnapshotArn"], TargetDBSnapshotIdentifier="away")
    # The key of the source's Region, no key, and none at all.
    refused("InvalidParameterValue", away.copy_db_snapshot, **copy)
    for wrong in (taken["KmsKeyId"], "garbage key!", "alias/with space"):
        refused(fault, away.copy_db_snapshot, KmsKeyId=wrong, **copy)
    assert away.copy_db_snapshot(KmsKeyId=key(AWAY), **copy)["DBSnapshot"]["Status"] == "pending"
    assert copied("away", away)["KmsKeyId"] == key(AWAY)
    refused(fault, rds.copy_db_snapshot, SourceDBSnapshotIdentifier="sealed-1", TargetDBSnapshotIdentifier="here", KmsKeyId=key(AWAY))


def storage():
    combination = "InvalidParameterCombination"
    settings = dict(Engine="postgres", DBInstanceClass="db.m6g.large", MasterUsername="owner", MasterUserPassword=PASSWORD)

    def no(**more):
        return refused(combination, rds.create_db_instance, DBInstanceIdentifier="no", **(settings | more))

    assert "400" in no(AllocatedStorage=399, StorageType="gp3", Iops=12000)
    no(AllocatedStorage=100, StorageType="gp3", StorageThroughput=500)
    no(AllocatedStorage=400, StorageType="gp3", Iops=11999)
    no(AllocatedStorage=400, StorageType="gp3", Iops=64001)
    no(AllocatedStorage=400, StorageType="gp3", Iops=12000, StorageThroughput=3001)
    no(AllocatedStorage=100, StorageType="io1")
    no(AllocatedStorage=100, StorageType="io1", Iops=1)
    no(AllocatedStorage=100, StorageType="io1", Iops=5001)
    no(AllocatedStorage=100, StorageType="io1", Iops=999999)
    no(AllocatedStorage=100, StorageType="gp2", Iops=3000)
    no(AllocatedStorage=100, StorageType="gp2", StorageThroughput=125)
    no(AllocatedStorage=100, MaxAllocatedStorage=109)

    def shown(name):
        one = instance(name)
        return one["StorageType"], one["AllocatedStorage"], one.get("Iops"), one.get("StorageThroughput")

    def changes(name, wanted, **change):
        rds.modify_db_instance(DBInstanceIdentifier=name, ApplyImmediately=True, **change)
        until(f"{wanted}", lambda: shown(name) == wanted and not instance(name)["PendingModifiedValues"])
        available(name)

    create("small", engine="mysql")
    assert shown("small") == ("gp3", 20, 3000, 125), shown("small")
    create("large", engine="mysql", AllocatedStorage=400)
    assert shown("large") == ("gp3", 400, 12000, 500)
    # Less than a tenth more is rounded up to it; a second change has to wait.
    changes("small", ("gp3", 22, 3000, 125), AllocatedStorage=21)
    assert "optimized" in refused(combination, rds.modify_db_instance, DBInstanceIdentifier="small", AllocatedStorage=30)
    advance(hours=5)
    refused(combination, rds.modify_db_instance, DBInstanceIdentifier="small", AllocatedStorage=30)
    advance(hours=1, minutes=1)
    available("small")
    changes("small", ("gp3", 400, 12000, 500), AllocatedStorage=400)
    said = refused(combination, rds.modify_db_instance, DBInstanceIdentifier="large", AllocatedStorage=500)
    assert "both the storage size and iops" in said, said
    changes("large", ("gp3", 400, 16000, 1000), Iops=16000, StorageThroughput=1000)
    refused(combination, rds.modify_db_instance, DBInstanceIdentifier="large", MaxAllocatedStorage=439)
    rds.modify_db_instance(DBInstanceIdentifier="large", MaxAllocatedStorage=440)
    assert instance("large")["MaxAllocatedStorage"] == 440
    rds.modify_db_instance(DBInstanceIdentifier="large", MaxAllocatedStorage=400)
    assert "MaxAllocatedStorage" not in instance("large")
    no(AllocatedStorage=100, DedicatedLogVolume=True)
    fast = create("fast", engine="mysql", AllocatedStorage=100, StorageType="io1", Iops=1000, DedicatedLogVolume=True)
    assert fast["DedicatedLogVolume"] is True
    for source, wanted in (("fast", ("io1", 100, 1000, None)), ("large", ("gp3", 400, 16000, 1000)), ("small", ("gp3", 400, 12000, 500))):
        snapshot(f"{source}-1", source)
        rds.restore_db_instance_from_db_snapshot(DBSnapshotIdentifier=f"{source}-1", DBInstanceIdentifier=f"{source}-back")
        available(f"{source}-back")
        assert shown(f"{source}-back")[:3] == wanted[:3], (source, shown(f"{source}-back"))
    rds.restore_db_instance_from_db_snapshot(DBSnapshotIdentifier="fast-1", DBInstanceIdentifier="cheap", StorageType="gp2", Iops=0, DedicatedLogVolume=False)
    available("cheap")
    assert shown("cheap") == ("gp2", 100, None, None), shown("cheap")
    assert [m for c, m in events("small") if "storage" in m][:2] == [
        "Applying modification to allocated storage", "Finished applying modification to allocated storage"]
    # Pages of what can be ordered have up to a thousand rows.
    page = rds.describe_orderable_db_instance_options(Engine="postgres", MaxRecords=1000)["OrderableDBInstanceOptions"]
    assert len(page) > 100, len(page)
    refused("InvalidParameterValue", rds.describe_orderable_db_instance_options, Engine="postgres", MaxRecords=1001)


def told_events():
    sns = client("sns")
    topic = sns.create_topic(Name="events")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:restored")
    rds.create_event_subscription(SubscriptionName="restored", SnsTopicArn=topic, SourceType="db-instance", EventCategories=["restoration"])
    create("orders", BackupRetentionPeriod=0)
    snapshot("s1", "orders")
    assert events("s1", "db-snapshot") == [("creation", "Creating manual snapshot"), ("creation", "Manual snapshot created")]
    rds.modify_db_instance(DBInstanceIdentifier="orders", BackupRetentionPeriod=1, MultiAZ=True, DBInstanceClass="db.m6g.xlarge", ApplyImmediately=True)
    until("the changes", lambda: instance("orders")["MultiAZ"] and instance("orders")["BackupRetentionPeriod"] == 1)
    until("a backup", lambda: window("orders"))
    available("orders")
    rds.restore_db_instance_from_db_snapshot(DBSnapshotIdentifier="s1", DBInstanceIdentifier="back")
    available("back")
    rds.restore_db_instance_to_point_in_time(SourceDBInstanceIdentifier="orders", TargetDBInstanceIdentifier="pitr", UseLatestRestorableTime=True)
    available("pitr")
    assert ("restoration", "Restored from snapshot s1") in events("back")
    assert ("restoration", "Restored from snapshot s1") in events("s1", "db-snapshot")
    assert ("restoration", "Restored from DB instance orders to pitr") in events("pitr")
    rds.copy_db_snapshot(SourceDBSnapshotIdentifier="s1", TargetDBSnapshotIdentifier="s2")
    copied("s2")
    until("the copy's end", lambda: len(events("s2", "db-snapshot")) == 2)
    assert events("s2", "db-snapshot")[0] == ("notification", f"Started copy of snapshot s2 in region {REGION}")
    rds.delete_db_snapshot(DBSnapshotIdentifier="s2")
    assert events("s2", "db-snapshot")[-1] == ("deletion", "Deleted manual snapshot")
    rds.reboot_db_instance(DBInstanceIdentifier="orders", ForceFailover=True)
    until("the failover", lambda: ("failover", "Multi-AZ instance failover completed") in events("orders"))
    # The numbers in what is delivered.
    everything = sns.create_topic(Name="all")["TopicArn"]
    sns.subscribe(TopicArn=everything, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:all")
    rds.create_event_subscription(SubscriptionName="all", SnsTopicArn=everything)
    available("orders")
    rds.modify_db_instance(DBInstanceIdentifier="orders", BackupRetentionPeriod=0, ApplyImmediately=True)
    until("no backups", lambda: instance("orders")["BackupRetentionPeriod"] == 0)
    available("orders")
    rds.modify_db_instance(DBInstanceIdentifier="orders", BackupRetentionPeriod=1, MultiAZ=False, ApplyImmediately=True)
    until("backups", lambda: window("orders"))
    rds.delete_db_snapshot(DBSnapshotIdentifier="s1")

    def ids(queue):
        bodies = [json.loads(json.loads(one["body"])["Message"]) for one in control("GET", f"queues/{queue}")]
        return {one["Event ID"].rsplit("#", 1)[1]: one["Source ID"] for one in bodies}

    wanted = {"RDS-EVENT-0028", "RDS-EVENT-0032", "RDS-EVENT-0030", "RDS-EVENT-0029", "RDS-EVENT-0090", "RDS-EVENT-0091", "RDS-EVENT-0041"}
    until("the numbers", lambda: wanted <= ids("all").keys())
    assert "RDS-EVENT-0000" not in ids("all"), ids("all")
    assert ids("restored") == {"RDS-EVENT-0043": "back", "RDS-EVENT-0019": "pitr"}, ids("restored")
    # A time to the minute, as the API reference has it in its examples.
    form = {"Action": "DescribeEvents", "Version": "2014-10-31", "StartTime": (now() - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%MZ")}
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential=test/20261121/{REGION}/rds/aws4_request"}
    with urllib.request.urlopen(urllib.request.Request(ENDPOINT, urllib.parse.urlencode(form).encode(), headers)) as answer:
        assert b"Restored from snapshot s1" in answer.read()


def settings_that_stay():
    role = "arn:aws:iam::123456789012:role/monitoring"
    one = create(
        "orders", engine="mysql", MonitoringInterval=60, MonitoringRoleArn=role, EnablePerformanceInsights=True,
        PerformanceInsightsKMSKeyId=KEY, PerformanceInsightsRetentionPeriod=731, DatabaseInsightsMode="advanced", NetworkType="DUAL",
    )
    shown = ["MonitoringInterval", "MonitoringRoleArn", "PerformanceInsightsEnabled", "PerformanceInsightsKMSKeyId", "PerformanceInsightsRetentionPeriod", "DatabaseInsightsMode", "NetworkType"]
    assert [one[name] for name in shown] == [60, role, True, key(REGION), 731, "advanced", "DUAL"], one
    modify = dict(DBInstanceIdentifier="orders")
    rds.modify_db_instance(MonitoringInterval=0, DatabaseInsightsMode="standard", PerformanceInsightsRetentionPeriod=93, NetworkType="IPV4", **modify)
    one = instance("orders")
    assert "MonitoringRoleArn" not in one and [one[name] for name in shown[4:]] == [93, "standard", "IPV4"], one
    refused("InvalidParameterCombination", rds.modify_db_instance, MonitoringInterval=60, **modify)
    refused("InvalidParameterValue", rds.modify_db_instance, MonitoringInterval=7, MonitoringRoleArn=role, **modify)
    refused("InvalidParameterCombination", rds.modify_db_instance, MonitoringInterval=0, MonitoringRoleArn=role, **modify)
    refused("InvalidParameterValue", rds.modify_db_instance, PerformanceInsightsRetentionPeriod=94, **modify)
    refused("InvalidParameterCombination", rds.modify_db_instance, DatabaseInsightsMode="advanced", PerformanceInsightsRetentionPeriod=31, **modify)
    refused("InvalidParameterValue", rds.modify_db_instance, DatabaseInsightsMode="super", **modify)
    refused("InvalidParameterValue", rds.modify_db_instance, NetworkType="IPV6", **modify)
    assert ("configuration change", "Monitoring Interval changed to 0") in events("orders")
    # An id with a filter that it does not pass is not found.
    other = [{"Name": "engine", "Values": ["postgres"]}]
    refused("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier="orders", Filters=other)
    assert rds.describe_db_instances(Filters=other)["DBInstances"] == []
    snapshot("s1", "orders")
    refused("DBSnapshotNotFound", rds.describe_db_snapshots, DBSnapshotIdentifier="s1", SnapshotType="automated")
    # A managed password is rotated at once or not at all.
    rds.create_db_instance(
        DBInstanceIdentifier="managed", Engine="postgres", DBInstanceClass="db.m6g.large", AllocatedStorage=20,
        MasterUsername="owner", ManageMasterUserPassword=True, BackupRetentionPeriod=0,
    )
    assert available("managed")["MasterUserSecret"]["SecretStatus"] == "active"
    refused("InvalidParameterCombination", rds.modify_db_instance, DBInstanceIdentifier="managed", RotateMasterUserPassword=True)
    rotating = rds.modify_db_instance(DBInstanceIdentifier="managed", RotateMasterUserPassword=True, ApplyImmediately=True)
    assert rotating["DBInstance"]["MasterUserSecret"]["SecretStatus"] == "rotating", rotating
    until("the rotation", lambda: instance("managed")["MasterUserSecret"]["SecretStatus"] == "active")
    # A new port does not wait for the maintenance window.
    port = instance("managed")["Endpoint"]["Port"]
    available("managed")
    rds.modify_db_instance(DBInstanceIdentifier="managed", DBPortNumber=5433)
    until("the new port", lambda: instance("managed").get("Endpoint", {}).get("Port") not in (None, port))
    available("managed")


def parameter_groups():
    rds.create_db_parameter_group(DBParameterGroupName="tuned", DBParameterGroupFamily="postgres15", Description="x")

    def put(name, value, method):
        rds.modify_db_parameter_group(DBParameterGroupName="tuned", Parameters=[{"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}])

    put("work_mem", "8192", "immediate")
    for formula in ("LEAST({DBInstanceClassMemory/9531392},5000)", "GREATEST({DBInstanceClassMemory/12582880},40)", "{DBInstanceClassMemory/9531392}", "SUM({DBInstanceVCPU*10},20)"):
        put("max_connections", formula, "pending-reboot")
    for wrong in ("LEAST({DBInstanceClassMemory/9531392})", "{Memory/2}", "MOST(1,2)", "{DBInstanceClassMemory/"):
        refused("InvalidParameterValue", put, name="max_connections", value=wrong, method="pending-reboot")
    rds.copy_db_parameter_group(
        SourceDBParameterGroupIdentifier="tuned", TargetDBParameterGroupIdentifier="copy", TargetDBParameterGroupDescription="copied")
    values = lambda group: {
        one["ParameterName"]: one["ParameterValue"]
        for page in rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group, Source="user") for one in page["Parameters"]
    }
    assert values("copy") == {"work_mem": "8192", "max_connections": "SUM({DBInstanceVCPU*10},20)"}, values("copy")
    refused("InvalidParameterValue", rds.copy_db_parameter_group, SourceDBParameterGroupIdentifier="default.postgres15", TargetDBParameterGroupIdentifier="d", TargetDBParameterGroupDescription="x")
    refused("DBParameterGroupNotFound", rds.copy_db_parameter_group, SourceDBParameterGroupIdentifier="none", TargetDBParameterGroupIdentifier="d", TargetDBParameterGroupDescription="x")
    refused("DBParameterGroupAlreadyExists", rds.copy_db_parameter_group, SourceDBParameterGroupIdentifier="tuned", TargetDBParameterGroupIdentifier="copy", TargetDBParameterGroupDescription="x")
    rds.reset_db_parameter_group(DBParameterGroupName="copy", Parameters=[{"ParameterName": "work_mem", "ApplyMethod": "immediate"}])
    assert values("copy") == {"max_connections": "SUM({DBInstanceVCPU*10},20)"}
    refused("InvalidParameterCombination", rds.reset_db_parameter_group, DBParameterGroupName="copy", Parameters=[{"ParameterName": "max_connections", "ApplyMethod": "immediate"}])
    refused("InvalidDBParameterGroupState", rds.reset_db_parameter_group, DBParameterGroupName="default.postgres15", ResetAllParameters=True)
    rds.reset_db_parameter_group(DBParameterGroupName="copy", ResetAllParameters=True)
    assert values("copy") == {}


def other_calls():
    found = rds.describe_certificates()
    assert found["DefaultCertificateForNewLaunches"] == "rds-ca-rsa2048-g1" and len(found["Certificates"]) == 3
    (one,) = rds.describe_certificates(CertificateIdentifier="rds-ca-rsa4096-g1")["Certificates"]
    assert one["ValidTill"].year == 2121 and one["CertificateArn"] == f"arn:aws:rds:{REGION}::cert:rds-ca-rsa4096-g1"
    refused("CertificateNotFound", rds.describe_certificates, CertificateIdentifier="rds-ca-2015")
    groups = rds.describe_option_groups(EngineName="postgres", MajorEngineVersion="15")["OptionGroupsList"]
    assert [group["OptionGroupName"] for group in groups] == ["default:postgres-15"], groups
    assert rds.describe_option_groups(OptionGroupName="default:postgres-15")["OptionGroupsList"] == groups
    refused("OptionGroupNotFoundFault", rds.describe_option_groups, OptionGroupName="mine")
    assert rds.describe_db_cluster_snapshots()["DBClusterSnapshots"] == []
    refused("DBClusterSnapshotNotFoundFault", rds.describe_db_cluster_snapshots, DBClusterSnapshotIdentifier="x")
    regions = rds.describe_source_regions()["SourceRegions"]
    assert AWAY in [one["RegionName"] for one in regions] and REGION not in [one["RegionName"] for one in regions]
    rds.create_db_subnet_group(DBSubnetGroupName="nets", DBSubnetGroupDescription="x", SubnetIds=["subnet-1", "subnet-2"])
    rds.modify_db_subnet_group(DBSubnetGroupName="nets", DBSubnetGroupDescription="y", SubnetIds=["subnet-1", "subnet-3"])
    (group,) = rds.describe_db_subnet_groups(DBSubnetGroupName="nets")["DBSubnetGroups"]
    assert group["DBSubnetGroupDescription"] == "y" and [one["SubnetIdentifier"] for one in group["Subnets"]] == ["subnet-1", "subnet-3"]
    refused("DBSubnetGroupDoesNotCoverEnoughAZs", rds.modify_db_subnet_group, DBSubnetGroupName="nets", SubnetIds=["subnet-1"])
    refused("DBSubnetGroupNotFoundFault", rds.modify_db_subnet_group, DBSubnetGroupName="none", SubnetIds=["subnet-1", "subnet-2"])
    create("orders", BackupRetentionPeriod=0)
    (log,) = rds.describe_db_log_files(DBInstanceIdentifier="orders")["DescribeDBLogFiles"]
    assert log["Size"] > 0 and log["LastWritten"] > 1_600_000_000_000
    assert rds.describe_db_log_files(DBInstanceIdentifier="orders", FileSize=10**12)["DescribeDBLogFiles"] == []
    portion = rds.download_db_log_file_portion(DBInstanceIdentifier="orders", LogFileName=log["LogFileName"], Marker="0")
    assert "database system is ready to accept connections" in portion["LogFileData"] and not portion["AdditionalDataPending"]
    last = rds.download_db_log_file_portion(DBInstanceIdentifier="orders", LogFileName=log["LogFileName"], NumberOfLines=1)
    assert last["LogFileData"].count("\n") == 1 and portion["LogFileData"].endswith(last["LogFileData"])
    refused("DBLogFileNotFoundFault", rds.download_db_log_file_portion, DBInstanceIdentifier="orders", LogFileName="x")
    refused("DBInstanceNotFound", rds.describe_db_log_files, DBInstanceIdentifier="none")
    refused("InvalidDBInstanceState", rds.create_db_instance_read_replica, DBInstanceIdentifier="r", SourceDBInstanceIdentifier="orders")
    snapshot("s1", "orders")
    version = instance("orders")["EngineVersion"]
    assert rds.modify_db_snapshot(DBSnapshotIdentifier="s1", EngineVersion=version)["DBSnapshot"]["DBSnapshotIdentifier"] == "s1"
    refused("InvalidParameterCombination", rds.modify_db_snapshot, DBSnapshotIdentifier="s1", EngineVersion="99.1")
    # Tags of what nobody made are an empty list.
    family = instance("orders")["DBParameterGroups"][0]["DBParameterGroupName"]
    for name in ("subgrp:default", f"pg:{family}", "og:default:postgres-15"):
        assert rds.list_tags_for_resource(ResourceName=f"arn:aws:rds:{REGION}:123456789012:{name}")["TagList"] == [], name
    refused("InvalidParameterValue", rds.list_tags_for_resource, ResourceName=f"arn:aws:rds:{REGION}:123456789012:pg:default.postgres1")
    # A service that is not here says so, in its own form.
    refused("InvalidAction", client("ec2").describe_instances)
    refused("UnknownOperationException", client("kms").list_keys)
    assert {call["service"] for call in control("GET", "calls") if call["action"] == "DescribeInstances"} == {"ec2"}


def replicated_backups():
    away = client("rds", region=AWAY)
    source = create("orders", BackupRetentionPeriod=1)
    refused("InvalidParameterValue", rds.start_db_instance_automated_backups_replication, SourceDBInstanceArn=source["DBInstanceArn"])
    refused("DBInstanceNotFound", away.start_db_instance_automated_backups_replication, SourceDBInstanceArn=source["DBInstanceArn"] + "x")
    began = away.start_db_instance_automated_backups_replication(SourceDBInstanceArn=source["DBInstanceArn"], BackupRetentionPeriod=7)
    arn = began["DBInstanceAutomatedBackup"]["DBInstanceAutomatedBackupsArn"]
    refused("InvalidDBInstanceAutomatedBackupState", away.start_db_instance_automated_backups_replication, SourceDBInstanceArn=source["DBInstanceArn"])
    assert instance("orders")["DBInstanceAutomatedBackupsReplications"] == [{"DBInstanceAutomatedBackupsArn": arn}]
    advance(minutes=10)
    (row,) = away.describe_db_instance_automated_backups()["DBInstanceAutomatedBackups"]
    assert (row["Status"], row["DBInstanceArn"], row["Region"]) == ("replicating", source["DBInstanceArn"], REGION), row
    latest = row["RestoreWindow"]["LatestTime"]
    target = dict(TargetDBInstanceIdentifier="there", RestoreTime=latest)
    # RDS does not find in one Region what it knows by its id in another.
    refused("DBInstanceNotFound", away.restore_db_instance_to_point_in_time, SourceDbiResourceId=source["DbiResourceId"], **target)
    refused("DBInstanceNotFound", away.restore_db_instance_to_point_in_time, SourceDBInstanceIdentifier="orders", **target)
    away.restore_db_instance_to_point_in_time(SourceDBInstanceAutomatedBackupsArn=arn, **target)
    available("there", away)
    away.stop_db_instance_automated_backups_replication(SourceDBInstanceArn=source["DBInstanceArn"])
    assert away.describe_db_instance_automated_backups(DBInstanceIdentifier="orders")["DBInstanceAutomatedBackups"] == []


def roles_by_token():
    sts = boto3.client("sts", endpoint_url=ENDPOINT, region_name=REGION, config=Config(signature_version=UNSIGNED))

    def token(**claims):
        given = {"iss": "https://token.actions.githubusercontent.com", "sub": "repo:shop/app:ref:refs/heads/main", "aud": "sts.amazonaws.com", "exp": now().timestamp() + 600} | claims
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
        return f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(given)}.c2lnbmF0dXJl"

    role = dict(RoleArn=f"arn:aws:iam::{OTHER}:role/ci/drills", RoleSessionName="run-1")
    answer = sts.assume_role_with_web_identity(WebIdentityToken=token(), **role)
    assert answer["SubjectFromWebIdentityToken"] == "repo:shop/app:ref:refs/heads/main"
    assert (answer["Audience"], answer["Provider"]) == ("sts.amazonaws.com", "token.actions.githubusercontent.com")
    found = answer["Credentials"]
    caller = boto3.client(
        "sts", endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"], aws_session_token=found["SessionToken"],
    ).get_caller_identity()
    assert (caller["Account"], caller["Arn"]) == (OTHER, f"arn:aws:sts::{OTHER}:assumed-role/drills/run-1"), caller
    refused("InvalidIdentityToken", sts.assume_role_with_web_identity, WebIdentityToken="nonsense", **role)
    refused("InvalidIdentityToken", sts.assume_role_with_web_identity, WebIdentityToken=token(sub=""), **role)
    refused("ExpiredTokenException", sts.assume_role_with_web_identity, WebIdentityToken=token(exp=1_600_000_000), **role)
    refused("ValidationError", sts.assume_role_with_web_identity, WebIdentityToken=token(), RoleArn="arn:aws:iam::1:role/x", RoleSessionName="run-1")
    refused("MissingAuthenticationToken", sts.get_caller_identity)


def watching():
    cloudwatch, sns = client("cloudwatch"), client("sns")
    alarm = dict(
        Namespace="N", MetricName="m", Period=60, EvaluationPeriods=1, Threshold=1, Statistic="Average",
        ComparisonOperator="GreaterThanThreshold",
    )
    # Who deletes page by page deletes all.
    for number in range(230):
        cloudwatch.put_metric_alarm(AlarmName=f"a-{number}", **alarm)
        sns.create_topic(Name=f"t-{number}")
    for page in cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 100}):
        cloudwatch.delete_alarms(AlarmNames=[one["AlarmName"] for one in page["MetricAlarms"]])
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    for page in sns.get_paginator("list_topics").paginate():
        for one in page["Topics"]:
            sns.delete_topic(TopicArn=one["TopicArn"])
    assert sns.list_topics()["Topics"] == []
    seen = [item["HistorySummary"] for page in cloudwatch.get_paginator("describe_alarm_history").paginate() for item in page["AlarmHistoryItems"]]
    assert len(seen) == len(set(seen)) == 460, len(seen)
    refused("InvalidNextToken", cloudwatch.describe_alarms, NextToken="zz")
    at = now()
    span = dict(StartTime=at, EndTime=at)
    query = [{"Id": "q", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}]
    refused("ValidationError", cloudwatch.get_metric_data, MetricDataQueries=query, **span)
    refused("InvalidParameterValue", cloudwatch.get_metric_statistics, Namespace="N", MetricName="m", Period=60, Statistics=["Sum"], **span)
    values = dict(SampleCount=1, Sum=1, Minimum=1, Maximum=1)
    for both in (dict(Value=1, StatisticValues=values), dict(Values=[1], StatisticValues=values)):
        refused("InvalidParameterCombination", cloudwatch.put_metric_data, Namespace="N", MetricData=[dict(MetricName="m", **both)])
    refused("InvalidParameterValue", cloudwatch.put_metric_data, Namespace="N", MetricData=[dict(MetricName="m", Value=1, Values=[1])])
    said = refused("ValidationError", cloudwatch.put_metric_alarm, AlarmName="far", AlarmActions=[f"arn:aws:sns:{AWAY}:123456789012:t"], **alarm)
    assert said == f"Invalid region {AWAY} specified. Only {REGION} is supported.", said


def messages():
    sns = client("sns")
    topic = sns.create_topic(Name="t", Tags=[{"Key": "a", "Value": "b"}])["TopicArn"]
    assert sns.create_topic(Name="t")["TopicArn"] == topic
    refused("InvalidParameter", sns.create_topic, Name="t", Tags=[{"Key": "a", "Value": "c"}])
    queue = lambda name: f"arn:aws:sqs:{REGION}:123456789012:{name}"
    refused("NotFound", sns.subscribe, TopicArn=topic + "x", Protocol="http", Endpoint="not-a-url")
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="http", Endpoint="not-a-url")
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="sqs", Endpoint=queue("q.fifo"))
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="sqs", Endpoint=queue("q"), Attributes={"FilterPolicy": "{"})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue("all"))
    urgent = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=queue("urgent"), ReturnSubscriptionArn=True,
        Attributes={"FilterPolicy": json.dumps({"severity": ["critical"]})},
    )["SubscriptionArn"]
    shown = sns.get_subscription_attributes(SubscriptionArn=urgent)["Attributes"]
    assert shown["FilterPolicyScope"] == "MessageAttributes", shown
    severity = lambda value: {"severity": {"DataType": "String", "StringValue": value}}
    sns.publish(TopicArn=topic, Message="one", MessageAttributes=severity("critical"))
    sns.publish(TopicArn=topic, Message="two", MessageAttributes=severity("info"), Subject="s")
    sns.publish(TopicArn=topic, Message="three")
    bodies = lambda name: [json.loads(one["body"]) for one in control("GET", f"queues/{name}")]
    assert [one["Message"] for one in bodies("all")] == ["one", "two", "three"]
    assert [one["Message"] for one in bodies("urgent")] == ["one"]
    assert "Subject" not in bodies("all")[0] and bodies("all")[1]["Subject"] == "s", bodies("all")
    sns.set_subscription_attributes(SubscriptionArn=urgent, AttributeName="FilterPolicyScope", AttributeValue="MessageBody")
    sns.publish(TopicArn=topic, Message=json.dumps({"severity": "critical"}))
    assert len(bodies("urgent")) == 2
    sns.publish(TopicArn=topic, Message="x" * 262144)
    refused("InvalidParameter", sns.publish, TopicArn=topic, Message="x" * 262145)
    refused("InvalidParameter", sns.publish, TopicArn=topic, Message="x" * 262144, MessageAttributes=severity("info"))


globals()[SECTION]()
print(SECTION)
