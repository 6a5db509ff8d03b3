package android.util;

import java.io.FileWriter;
import java.io.IOException;

public final class Log {
    public static int e(String tag, String text) {
        try (FileWriter log = new FileWriter("/dev/log_main", true)) {
            for (String line : text.split("\n")) {
                log.write(String.format("E/%s(%5d): %s%n", tag, ProcessHandle.current().pid(), line));
            }
        } catch (IOException error) {
            return 0;
        }
        return text.length();
    }
}
