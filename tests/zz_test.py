import time, small, jax, pytest, os
@pytest.mark.parametrize("cache", [False, True])
def test_a(tmp_path, cache):
    if cache:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path/"cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    f = small.frozen(tmp_path)
    for i in range(3):
        t=time.process_time(); w=time.time()
        assert small.main("train", MODEL_DIR=tmp_path/f"run{i}", INITIAL_CHECKPOINT_PATH=f)==0
        print("TIME", cache, time.process_time()-t, time.time()-w)
    t=time.process_time()
    assert small.main("train", MODEL_DIR=tmp_path/f"run{i}", INITIAL_CHECKPOINT_PATH=f)==0
    print("TIME again", time.process_time()-t)
    t=time.process_time()
    assert small.main("evaluate", MODEL_DIR=tmp_path/f"run{i}", INITIAL_CHECKPOINT_PATH=f)==0
    print("TIME", time.process_time()-t)
    import cProfile, pstats
    p = cProfile.Profile(); p.enable()
    assert small.main("train", MODEL_DIR=tmp_path/f"run9", INITIAL_CHECKPOINT_PATH=f)==0
    p.disable()
    pstats.Stats(p).sort_stats("cumtime").print_stats("prompt_tuning|compile_or_get|backend_compile|_pjit|seqio|orbax.*manager", 45)
