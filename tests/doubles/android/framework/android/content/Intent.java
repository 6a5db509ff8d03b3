package android.content;

import java.util.HashMap;
import java.util.Map;

public class Intent {
    public final Map<String, Object> extras = new HashMap<>();

    public Intent() { }

    public Intent(String action) { }

    public String[] getStringArrayExtra(String key) {
        return extras.get(key) instanceof String[] ? (String[]) extras.get(key) : null;
    }
}
