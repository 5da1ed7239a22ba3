from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "ovara.accounts"
    label = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from ovara import database_checks  # noqa: F401 - registers them
        from ovara.accounts import receivers

        receivers.connect()
