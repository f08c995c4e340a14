"""A command, a terminal and files on a device with asyncssh: `with_asyncssh.py KEY KNOWN_HOSTS PORT DEVICE ACCOUNT HERE THERE`.

asyncssh knows host certificates and jumps: it takes the known hosts that `belay config` wrote, as they are.
"""
import asyncio
import sys

import asyncssh

key, known_hosts, port, device, account, here, there = sys.argv[1:8]


async def main():
    both = {"known_hosts": known_hosts, "client_keys": [key], "config": None, "agent_path": None}
    async with asyncssh.connect("127.0.0.1", int(port), username="belay", **both) as gateway:
        async with asyncssh.connect(device, tunnel=gateway, username=account, **both) as connection:
            done = await connection.run("cat; exit 7", input="through asyncssh\n")
            assert (done.stdout, done.exit_status) == ("through asyncssh\n", 7), done
            print("exec")
            done = await connection.run("stty size", term_type="xterm", term_size=(81, 23))
            assert (done.stdout, done.exit_status) == ("23 81\r\n", 0), done
            print("pty")
            async with connection.start_sftp_client() as sftp:
                await sftp.put(here, there)
                await sftp.posix_rename(there, there + ".renamed")
                await sftp.symlink(there + ".renamed", there + ".link")
                assert await sftp.readlink(there + ".link") == there + ".renamed"
                await sftp.chmod(there + ".renamed", 0o600)
                assert (await sftp.stat(there + ".link")).permissions & 0o777 == 0o600
                await sftp.get(there + ".renamed", here + ".back")
                await sftp.copy(there + ".renamed", there + ".copy", remote_only=True)
                assert not await sftp.exists(there + ".none")
            print("sftp")


asyncio.run(asyncio.wait_for(main(), 60))
