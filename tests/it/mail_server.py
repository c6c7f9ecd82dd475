"""A mail server that takes mail for its users only: MODE is starttls, implicit or none. Prints its port, then each mail as JSON."""
import asyncio
import email
import email.policy
import json
import socket
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

mode, folder = sys.argv[1:]


class Printer:
    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": letter["subject"],
            "header_from": letter["from"],
            "text": letter.get_content(),
            "encrypted": session.ssl is not None or mode == "implicit",
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    known = data.login == b"lifeboat" and data.password == b"canary-smtp"
    return AuthResult(success=known, handled=False)


tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")


def session():
    if mode == "none":
        return SMTP(Printer(), hostname="localhost")
    common = {"authenticator": authenticate, "auth_required": True, "hostname": "localhost"}
    if mode == "implicit":
        return SMTP(Printer(), auth_require_tls=False, **common)
    return SMTP(Printer(), tls_context=tls, require_starttls=True, **common)


async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "localhost", 0, family=socket.AF_INET, ssl=tls if mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(serve())
