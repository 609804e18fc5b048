"""Database engine of Django for MySQL and MariaDB."""
