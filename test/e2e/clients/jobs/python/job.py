"""What the Python jobs share: the port of Rondo and its password, and how they show what a library cannot do there."""
import re
import sys

port, password = int(sys.argv[1]), sys.argv[2]


def lacks(what, attempt):
    """Fails unless `attempt` needs a command that Rondo does not have; prints which one."""
    try:
        attempt()
    except Exception as error:
        refused(what, error)
    else:
        raise AssertionError(f"{what} works")


def refused(what, error):
    """Like lacks(), of an error that is there already."""
    # django-redis wraps the error of redis-py.
    found = re.search(r"unknown command '(\w+)'", f"{error} {error.__cause__}")
    if not found:
        raise error
    print(f"lacks {what}: {found[1].upper()}")


def kill_others(client):
    """Closes every connection to Rondo but that of the client."""
    own = client.client_id()
    for other in client.client_list():
        if int(other["id"]) != own:
            client.client_kill_filter(_id=other["id"])
