"""The secret that the integration tests of rotations rotate, and the settings of its rotator."""

PATH = "database/app"

TWO_USERS = 'users = {users}\nadmin = "database/admin"\n'
BY_ADMIN = 'admin = "database/admin"\n'
OWN_PASSWORD = ""
