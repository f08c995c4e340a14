"""A command, a terminal and files on a device with paramiko: `with_paramiko.py KEY FINGERPRINT ACCOUNT HERE THERE JUMP...`.

paramiko knows no host certificates: the device's own key is pinned by its fingerprint, as stock ssh verified it.
"""
import base64
import hashlib
import sys

import paramiko

key, pin, account, here, there = sys.argv[1:6]
jump = paramiko.ProxyCommand(" ".join(sys.argv[6:]))

transport = paramiko.Transport(jump)
transport.start_client(timeout=30)
shown = base64.b64encode(hashlib.sha256(transport.get_remote_server_key().asbytes()).digest()).decode().rstrip("=")
assert "SHA256:" + shown == pin, f"another host key: {shown}"
transport.auth_publickey(account, paramiko.Ed25519Key.from_private_key_file(key))

channel = transport.open_session()
channel.exec_command("cat; exit 7")
channel.sendall(b"through paramiko\n")
channel.shutdown_write()
said = channel.makefile("rb").read()
assert said == b"through paramiko\n", said
assert channel.recv_exit_status() == 7
print("exec")

channel = transport.open_session()
channel.get_pty("xterm", 81, 23)
channel.exec_command("stty size")
said = channel.makefile("rb").read()
assert said == b"23 81\r\n", said
assert channel.recv_exit_status() == 0
print("pty")

sftp = paramiko.SFTPClient.from_transport(transport)
sftp.put(here, there)
sftp.posix_rename(there, there + ".renamed")
sftp.symlink(there + ".renamed", there + ".link")
assert sftp.readlink(there + ".link") == there + ".renamed"
sftp.chmod(there + ".renamed", 0o600)
assert sftp.stat(there + ".link").st_mode & 0o777 == 0o600
sftp.get(there + ".link", here + ".back")
try:
    sftp.stat(there + ".none")
    raise AssertionError("a file that is not there")
except FileNotFoundError:
    pass
sftp.close()
transport.close()
print("sftp")
