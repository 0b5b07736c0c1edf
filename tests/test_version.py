def test_version():
    import lightning_diag

    assert lightning_diag.__version__.count(".") == 2
