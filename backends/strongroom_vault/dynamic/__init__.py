"""The store `vault-dynamic`: leased database credentials."""
