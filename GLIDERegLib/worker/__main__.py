from GLIDERegLib.worker.child import main

main()
