from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "ovara.accounts"
    label = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from ovara.accounts import receivers

        receivers.connect()
