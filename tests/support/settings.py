"""The project's settings for tests and checks that run inside one process.

They take nothing from the developer's environment: a key of their own, a database in a temporary
folder. Server processes that tests start run with `ovara.settings` itself; see `server.py`.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from django.conf import global_settings

from tests.support.environment import SECRET_KEY, is_ours
from tests.support.stores import current_store

for _name in [name for name in os.environ if is_ours(name)]:
    # Django has read this one, and child processes may still want it.
    if _name != "DJANGO_SETTINGS_MODULE":
        del os.environ[_name]
_folder = tempfile.mkdtemp(prefix="ovara-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["SECRET_KEY"] = SECRET_KEY
_store = current_store()
_database = _store.new_name(Path(_folder) / "db.sqlite3")
_store.create(_database)
os.environ |= _store.environment(_database)

from ovara.settings import *  # noqa: E402 - the environment first

# Hashing takes its time by design, and tests hash a password for every user they make.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    *global_settings.PASSWORD_HASHERS,
]

# Without `collectstatic` WhiteNoise finds the files where the apps keep them.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = True
