import small, pretrain_test, commands_test, jax, logging, time
from small import compiled_once
from jax._src import compiler
def test_a(tmp_path):
    orig=compiler.compile_or_get_cached
    rec=[]
    def f(backend, computation, *a, **k):
        t=time.process_time(); r=orig(backend, computation, *a, **k)
        rec.append((time.process_time()-t, str(computation.operation.attributes["sym_name"])))
        return r
    compiler.compile_or_get_cached=f
    t=time.process_time()
    assert pretrain_test.main(tmp_path)==0
    print("CPU", time.process_time()-t)
    t=time.process_time()
    commands_test.trained(tmp_path/"a", small.save_frozen(tmp_path/"f.safetensors"))
    print("CPU", time.process_time()-t)
    t=time.process_time()
    commands_test.trained(tmp_path/"b", tmp_path/"f.safetensors")
    print("CPU", time.process_time()-t)
    for r in sorted(rec)[-15:]: print("COMP", r)
    print("COMP", len(rec), sum(r[0] for r in rec))
    import cProfile,pstats
    p=cProfile.Profile(); p.enable()
    commands_test.trained(tmp_path/"c", tmp_path/"f.safetensors")
    p.disable()
    pstats.Stats(p).sort_stats("tottime").print_stats(15)
    pstats.Stats(p).sort_stats("cumtime").print_stats("prompt_tuning|orbax.*manager|savefig|trace|matplotlib|seqio|tracing", 75)
