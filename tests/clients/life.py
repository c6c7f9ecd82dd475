"""A whole life of an instance on the local stack, driven by boto3 as it comes and by psql.

Arguments: endpoint, CA file. botocore checks the shape of every answer; the rest is asserted here.
"""

import datetime
import os
import subprocess
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, CA = sys.argv[1:3]
PASSWORD = "correct-horse-battery"
session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-central-1")
rds = session.client("rds", endpoint_url=ENDPOINT, config=Config(retries={"total_max_attempts": 1}))
QUICK = {"Delay": 1, "MaxAttempts": 120}


def instance(name):
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def psql(name, sql, dbname="app"):
    endpoint = instance(name)["Endpoint"]
    environment = os.environ | {"PGPASSWORD": PASSWORD, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": CA}
    command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", endpoint["Address"], "-p", str(endpoint["Port"])]
    done = subprocess.run(
        command + ["-U", "owner", "-d", dbname, "-c", sql], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def available(name):
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=name, WaiterConfig=QUICK)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{call.__name__} {arguments} was accepted, wanted {code}")


# Create.
rds.create_db_instance(
    DBInstanceIdentifier="Life", Engine="postgres", DBInstanceClass="db.m6g.large", AllocatedStorage=20,
    MasterUsername="owner", MasterUserPassword=PASSWORD, DBName="app", BackupRetentionPeriod=7,
    PreferredBackupWindow="03:00-03:30", PreferredMaintenanceWindow="sun:05:00-sun:06:00",
    Tags=[{"Key": "env", "Value": "prod"}],
)
available("life")
life = instance("life")
assert life["DBInstanceIdentifier"] == "life" and life["DbiResourceId"].startswith("db-")
assert psql("life", "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t"
assert psql("life", "select rolsuper from pg_roles where rolname = current_user") == "f"
psql("life", "create table marks (id int primary key, what text); insert into marks values (1, 'early')")

# Wrong requests, in AWS's own words.
create = {
    "Engine": "postgres", "DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20, "MasterUsername": "owner",
    "MasterUserPassword": PASSWORD,
}
refused("DBInstanceAlreadyExists", rds.create_db_instance, DBInstanceIdentifier="life", **create)
refused("InvalidParameterValue", rds.create_db_instance, DBInstanceIdentifier="a--b", **create)
refused("InvalidParameterValue", rds.create_db_instance, DBInstanceIdentifier="x1", **(create | {"MasterUserPassword": "short"}))
refused("InvalidParameterValue", rds.modify_db_instance, DBInstanceIdentifier="life", BackupRetentionPeriod=36)
refused("InvalidParameterValue", rds.modify_db_instance, DBInstanceIdentifier="life", PreferredBackupWindow="03:00-03:29")
refused("InvalidParameterValue", rds.modify_db_instance, DBInstanceIdentifier="life", PreferredBackupWindow="05:30-06:30")
refused("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier="nobody")
refused("DBSnapshotNotFound", rds.describe_db_snapshots, DBSnapshotIdentifier="nothing")
refused("InvalidParameterValue", rds.describe_db_instances, MaxRecords=19)
refused("InvalidParameterCombination", rds.delete_db_instance, DBInstanceIdentifier="life")

# Retention and window: at once, whatever ApplyImmediately says.
rds.modify_db_instance(DBInstanceIdentifier="life", BackupRetentionPeriod=14, PreferredBackupWindow="23:45-00:15")
available("life")
assert (instance("life")["BackupRetentionPeriod"], instance("life")["PreferredBackupWindow"]) == (14, "23:45-00:15")

# Snapshots, listed and paged.
for number in range(21):
    rds.create_db_snapshot(DBInstanceIdentifier="life", DBSnapshotIdentifier=f"snap-{number:02}")
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=f"snap-{number:02}", WaiterConfig=QUICK)
refused("DBSnapshotAlreadyExists", rds.create_db_snapshot, DBInstanceIdentifier="life", DBSnapshotIdentifier="snap-00")
pages = list(rds.get_paginator("describe_db_snapshots").paginate(DBInstanceIdentifier="life", PaginationConfig={"PageSize": 20}))
snapshots = [snapshot for page in pages for snapshot in page["DBSnapshots"]]
assert len(pages) == 2 and sum(snapshot["SnapshotType"] == "manual" for snapshot in snapshots) == 21, snapshots
automated = [snapshot for snapshot in snapshots if snapshot["SnapshotType"] == "automated"]
assert automated and automated[0]["DBSnapshotIdentifier"].startswith("rds:life-")
refused("InvalidDBSnapshotState", rds.delete_db_snapshot, DBSnapshotIdentifier=automated[0]["DBSnapshotIdentifier"])

# Restore: default groups, a new resource id, the source's tags, the same data.
psql("life", "insert into marks values (2, 'after the snapshots')")
rds.restore_db_instance_from_db_snapshot(
    DBInstanceIdentifier="back", DBSnapshotIdentifier="snap-20", DBInstanceClass="db.t3.micro", PubliclyAccessible=False
)
assert "Endpoint" not in instance("back") or instance("back")["DBInstanceStatus"] == "available"
available("back")
back = instance("back")
assert back["DBInstanceClass"] == "db.t3.micro" and back["PubliclyAccessible"] is False
assert back["DbiResourceId"] != life["DbiResourceId"] and back["DeletionProtection"] is False
assert back["TagList"] == [{"Key": "env", "Value": "prod"}], back["TagList"]
assert psql("back", "select string_agg(what, ',' order by id) from marks") == "early"

# A point in time between two marks: the earlier is there, the later is not.
psql("life", "insert into marks values (3, 'before the accident')")
time.sleep(1.2)
between = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
time.sleep(1.2)
psql("life", "delete from marks; insert into marks values (9, 'the accident')")
deadline = time.time() + 400
while instance("life")["LatestRestorableTime"] <= between:
    assert time.time() < deadline
    time.sleep(0.2)
rds.restore_db_instance_to_point_in_time(
    SourceDBInstanceIdentifier="life", TargetDBInstanceIdentifier="pitr", RestoreTime=between
)
available("pitr")
assert psql("pitr", "select string_agg(id::text, ',' order by id) from marks") == "1,2,3"
window = rds.describe_db_instance_automated_backups(DBInstanceIdentifier="life")["DBInstanceAutomatedBackups"][0]
assert window["Status"] == "active" and window["RestoreWindow"]["EarliestTime"] <= between
for wrong in (datetime.timedelta(days=-3650), datetime.timedelta(days=1)):
    refused(
        "InvalidParameterValue", rds.restore_db_instance_to_point_in_time, SourceDBInstanceIdentifier="life",
        TargetDBInstanceIdentifier="never", RestoreTime=between + wrong,
    )

# Delete.
rds.modify_db_instance(DBInstanceIdentifier="pitr", DeletionProtection=True)
refused("InvalidParameterCombination", rds.delete_db_instance, DBInstanceIdentifier="pitr", SkipFinalSnapshot=True)
rds.modify_db_instance(DBInstanceIdentifier="pitr", DeletionProtection=False)
rds.delete_db_instance(DBInstanceIdentifier="back", SkipFinalSnapshot=True)
rds.delete_db_instance(DBInstanceIdentifier="pitr", FinalDBSnapshotIdentifier="last-of-pitr")
rds.delete_db_instance(DBInstanceIdentifier="life", SkipFinalSnapshot=True, DeleteAutomatedBackups=False)
for name in ("back", "pitr", "life"):
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier=name, WaiterConfig=QUICK)
assert rds.describe_db_snapshots(DBSnapshotIdentifier="last-of-pitr")["DBSnapshots"][0]["Status"] == "available"

# A deleted instance comes back from its retained automated backup.
retained = rds.describe_db_instance_automated_backups(DbiResourceId=life["DbiResourceId"])["DBInstanceAutomatedBackups"][0]
assert retained["Status"] == "retained", retained
rds.restore_db_instance_to_point_in_time(
    SourceDbiResourceId=life["DbiResourceId"], TargetDBInstanceIdentifier="risen", RestoreTime=between
)
available("risen")
assert psql("risen", "select count(*) from marks") == "3"
rds.delete_db_instance(DBInstanceIdentifier="risen", SkipFinalSnapshot=True)
print("a whole life")
