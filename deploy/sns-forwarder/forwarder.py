"""AWS Lambda: hands the SMS delivery log of SNS on to Carillon.

CloudWatch Logs calls it with a batch of log events (a subscription filter); the batch goes on as it came, and Carillon unpacks it.
A refusal raises, so Lambda calls again with the same batch: receipts may come twice, and Carillon counts each once.

Environment: CALLBACK_URL, the address that Carillon shows for the connection. It holds a secret: keep it out of logs.
"""

import json
import os
import urllib.error
import urllib.request

TIMEOUT_S = 10


class NotTaken(Exception):
    """Carillon did not take the batch; Lambda tries again."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address holds a secret: it is told to nobody else."""

    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def handler(event, _context):
    if "awslogs" not in event:
        raise ValueError("not a batch of CloudWatch Logs: subscribe this function to the log groups of SNS")
    body = json.dumps({"awslogs": event["awslogs"]}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "carillon-sns-forwarder"}
    request = urllib.request.Request(os.environ["CALLBACK_URL"], data=body, headers=headers, method="POST")
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return {"status": answer.status}
    except urllib.error.HTTPError as error:
        raise NotTaken(f"Carillon answered {error.code}") from None
    except urllib.error.URLError as error:
        raise NotTaken(f"Carillon was not reached: {error.reason}") from None
