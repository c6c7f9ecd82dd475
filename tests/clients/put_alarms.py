"""Puts the alarms of a corpus with boto3, as anyone might have.

Arguments: endpoint, corpus file. `TOPIC:` stands for the ARN of a topic of the account.
"""

import json
import sys

import boto3

ENDPOINT, CORPUS = sys.argv[1:3]
REGION = "eu-central-1"
session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
cloudwatch = session.client("cloudwatch", endpoint_url=ENDPOINT)
text = open(CORPUS).read().replace("TOPIC:", f"arn:aws:sns:{REGION}:123456789012:")
for alarm in json.loads(text):
    cloudwatch.put_metric_alarm(AlarmName=alarm["name"], **alarm["put"])
cloudwatch.disable_alarm_actions(AlarmNames=["actions-disabled"])
print("all put")
